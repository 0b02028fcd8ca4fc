import csv
import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from profilers import exchange_checks, exchange_files, exchange_parquet
from profilers.device import Device
from profilers.exchange_csv import COLUMNS, EXCHANGE_VERSION
from profilers.exchange_files import read_export, write_export
from profilers.exchange_records import LatencyExport
from profilers.load_report import LoadReport
from profilers.subject import Subject
from search_space.errors import SnapNASError, UsageError
from search_space.space import reachable_specs
from search_space.spaces import search_space
from search_space.specs import BlockSpec, ConvSpec, NormOutSpec, TimeEmbeddingSpec, TransformerSpec
from tests.profilers.exports import SUBJECTS, latency_exports, small_export

DEVICE = Device(
    name="test",
    backend="exact",
    hardware="none",
    operating_system="none",
    runtime="none 1",
    precision="fp32",
    threads=1,
)
SMALL = small_export(DEVICE)
TRANSFORMER = next(spec for spec in reachable_specs(search_space("tiny")) if isinstance(spec, TransformerSpec))

every_format = pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def csv_with(path: Path, edit: Callable[[list[dict[str, str]]], None]) -> Path:
    """The small export as CSV, edited cell by cell."""
    write_export(SMALL, path)
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    edit(lines)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def cell(index: int, column: str, value: str) -> Callable[[list[dict[str, str]]], None]:
    """Lines of the small export: 0 device, 1 campaign, 2 and 3 rows, from 4 samples."""
    return lambda lines: lines[index].update({column: value})


def transformer(**changes: Any) -> TransformerSpec:
    """A small one, but for some of its numbers."""
    return dataclasses.replace(TRANSFORMER, **changes)


def complaint(path: Path) -> str:
    """What reading the file complains about; nothing for a file that can be read."""
    try:
        read_export(path)
    except SnapNASError as error:
        return str(error)
    return ""


@given(export=latency_exports())
@settings(same_folder, max_examples=60)
def test_csv_gives_back_bit_for_bit_what_was_written(tmp_path: Path, export: LatencyExport) -> None:
    write_export(export, tmp_path / "table.csv")
    assert read_export(tmp_path / "table.csv") == export


@given(export=latency_exports())
@settings(same_folder, max_examples=5, phases=[Phase.generate])
def test_parquet_gives_back_bit_for_bit_what_was_written(tmp_path: Path, export: LatencyExport) -> None:
    write_export(export, tmp_path / "table.parquet")
    assert read_export(tmp_path / "table.parquet") == export


@given(export=latency_exports())
@settings(same_folder, max_examples=40)
def test_no_cell_is_a_formula(tmp_path: Path, export: LatencyExport) -> None:
    write_export(export, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert not [value for line in csv.reader(file) for value in line if value.startswith(tuple("=+-@\t\r\n"))]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content after a few accidents."""
    damaged_content = bytearray(content)
    for _ in range(draw(st.integers(min_value=1, max_value=6))):
        place = draw(st.integers(min_value=0, max_value=len(damaged_content)))
        match draw(st.sampled_from(["change", "cut", "insert", "repeat"])):
            case "change":
                damaged_content[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del damaged_content[place : place + draw(st.integers(min_value=1, max_value=50))]
            case "insert":
                damaged_content[place:place] = draw(st.binary(max_size=20))
            case "repeat":
                damaged_content[place:place] = damaged_content[place : place + 40]
    return bytes(damaged_content)


def check_damaged(path: Path, data: st.DataObject) -> None:
    write_export(SMALL, path)
    content = path.read_bytes()
    path.write_bytes(data.draw(damaged(content) | st.binary(max_size=300) | st.text(max_size=200).map(str.encode)))
    message = complaint(path)
    assert len(message.splitlines()) <= 3
    assert message.replace("\n", "").isprintable()


@given(data=st.data())
@settings(same_folder, max_examples=300)
def test_damaged_csv_raises_nothing_but_a_message(tmp_path: Path, data: st.DataObject) -> None:
    check_damaged(tmp_path / "table.csv", data)


@given(data=st.data())
@settings(same_folder, max_examples=8)
def test_damaged_parquet_raises_nothing_but_a_message(tmp_path: Path, data: st.DataObject) -> None:
    check_damaged(tmp_path / "table.parquet", data)


@pytest.mark.slow
@pytest.mark.timeout(900)
@given(data=st.data())
@settings(same_folder, max_examples=40)
def test_parquet_damaged_in_many_ways_raises_nothing_but_a_message(tmp_path: Path, data: st.DataObject) -> None:
    check_damaged(tmp_path / "table.parquet", data)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (cell(0, "device_id", "0" * 12), "line 2, a device: the hash of its record is"),
        (cell(0, "document", "{}"), "line 2, a device: name: "),
        (cell(0, "document", DEVICE.to_json().replace('"threads": 1', '"threads": "1"')), "not spelled"),
        (cell(0, "document", DEVICE.to_json().replace("}", ', "owner": "me"}')), "not spelled"),
        (cell(0, "sentinel_ms", ""), "no sentinel"),
        (cell(0, "raw_ms", "1.0"), "line 2, a device: raw_ms: "),
        (cell(1, "environment_before", '{"a": {"b": {"c": 1}}}'), "line 3, a campaign: "),
        (cell(1, "protocol", "[" * 40_000), "line 3, a campaign: "),
        (cell(1, "campaign", "2"), "campaign that is not in the file"),
        (cell(2, "text", "{}"), "line 4, a row: the hash of its text is"),
        (cell(2, "status", "excellent"), "line 4, a row: status: "),
        (cell(2, "finished_at", ""), "a time at which it was finished"),
        (cell(2, "finished_at", "yesterday"), "line 4, a row: finished_at: "),
        (cell(2, "reason", "slow"), "a row has a reason if, and only if"),
        (cell(2, "load_report", '{"load_ms": NaN}'), "line 4, a row: load_ms"),
        (cell(2, "load_report", '{"load_ms": 1.0}'), "line 4, a row: first_run_ms"),
        (cell(4, "raw_ms", "0.0"), "line 6, a sample: raw_ms: "),
        (cell(4, "raw_ms", "-1.0"), "the cell of raw_ms is not a number"),
        (cell(4, "raw_ms", "nan"), "the cell of raw_ms is not a number"),
        (cell(4, "raw_ms", "inf"), "the cell of raw_ms is not a number"),
        (cell(4, "raw_ms", "1e+999"), "line 6, a sample: raw_ms: "),
        (cell(4, "drift", "0.0"), "line 6, a sample: drift: "),
        (cell(4, "elasticity", "5.1"), "line 6, a sample: elasticity: "),
        (cell(4, "elasticity", ""), "line 6, a sample: elasticity: "),
        (cell(4, "common_slowness", "0"), "line 6, a sample: common_slowness: "),
        (cell(4, "num_runs", "0"), "line 6, a sample: num_runs: "),
        (cell(4, "num_runs", "1.5"), "the cell of num_runs is not a whole number"),
        (cell(4, "num_runs", "٣"), "the cell of num_runs is not a whole number"),
        (cell(4, "position", "99999999999"), "line 6, a sample: position: "),
        (cell(4, "is_flagged", "True"), "the cell of is_flagged is not true or false"),
        (cell(4, "subject_id", "0" * 16), "row that is not in the file"),
        (cell(4, "device_id", "0" * 12), "campaign that is not in the file"),
        (cell(4, "record", "median"), "line 6: its record is of no known kind"),
        (cell(4, "record", ""), "line 6: its record is of no known kind"),
        (cell(4, "schema_version", ""), "schema version is none"),
        (cell(0, "document", "=1+1"), "the cell of document is not a text that no spreadsheet runs"),
        (cell(0, "document", "a\x1b[31m"), "line 2, a device: document: "),
        (lambda lines: lines.append(dict(lines[2])), "the same row stands in the file twice"),
        (lambda lines: lines.append(dict(lines[0])), "the same device stands in the file twice"),
        (lambda lines: lines.append(dict(lines[1])), "the same campaign stands in the file twice"),
        (lambda lines: lines.__delitem__(slice(4, None)), "says it is measured and has no samples"),
        (lambda lines: lines.__delitem__(0), "belongs to a device that is not in the file"),
    ],
)
def test_what_no_table_could_have_written_is_refused(
    tmp_path: Path, edit: Callable[[list[dict[str, str]]], None], words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        read_export(csv_with(tmp_path / "table.csv", edit))
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "change",
    [
        lambda text: re.sub('"size":[0-9]+', '"size":"16"', text),
        lambda text: re.sub('"size":[0-9]+', '"size":16.0', text),
        lambda text: re.sub('"size":[0-9]+', '"size":-16', text),
        lambda text: re.sub('"size":[0-9]+', '"size":1000000000000', text),
        lambda text: re.sub('"size":[0-9]+', '"size": 16', text),
        lambda text: text.replace('"kind":"', '"kind":"un'),
        lambda text: text.replace("{", '{"more":1,'),
        lambda text: "[" * 40_000,
        lambda text: "{}",
        lambda text: "null",
        lambda text: text.replace('"num_heads":', '"num_heads":0,"num_heads":'),
        lambda text: re.sub('"num_heads":[0-9]+', '"num_heads":0', text),
        lambda text: re.sub('"(convolution|feed_forward|kernel)":[^,}]+', r'"\1":"odd"', text),
    ],
)
@pytest.mark.parametrize("kind", ["residual", "transformer"])
def test_a_block_that_is_no_block_is_refused(tmp_path: Path, change: Callable[[str], str], kind: str) -> None:
    text = next(each.text for each in SUBJECTS if f'"kind":"{kind}"' in each.text)
    changed = change(text)
    if changed == text:
        pytest.skip("this kind of block has no such field")
    subject = Subject(kind="block", text=changed)
    row = dataclasses.replace(SMALL.rows[0], text=changed, subject_id=subject.subject_id)
    write_export(dataclasses.replace(SMALL, rows=(row,), samples=()), tmp_path / "table.csv")
    with pytest.raises(UsageError, match="line 4, a row") as caught:
        read_export(tmp_path / "table.csv")
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ConvSpec(in_channels=0, out_channels=8, size=8), "a block whose in_channels is 0"),
        (ConvSpec(in_channels=8, out_channels=8, size=0), "a block whose size is 0"),
        (ConvSpec(in_channels=8, out_channels=8, size=8, kernel=0), "a block whose kernel is 0"),
        (TimeEmbeddingSpec(in_width=8, out_width=0), "a block whose out_width is 0"),
        (ConvSpec(in_channels=2**20, out_channels=2**20, size=2**20, kernel=2**20), "no device could run"),
        (NormOutSpec(channels=2**20, size=2**20, norm_groups=1), "no device could run"),
        (transformer(depth=0), "a block whose depth is 0"),
        (transformer(depth=2**20), "more than 100 transformers"),
        (transformer(num_heads=2**20), "more heads than channels"),
    ],
)
def test_a_block_that_would_spoil_every_guess_of_its_device_is_refused(
    tmp_path: Path, spec: BlockSpec, words: str
) -> None:
    subject = Subject.of_block(spec)
    row = dataclasses.replace(SMALL.rows[0], text=subject.text, subject_id=subject.subject_id)
    write_export(dataclasses.replace(SMALL, rows=(row,), samples=()), tmp_path / "table.csv")
    message = complaint(tmp_path / "table.csv")
    assert message.startswith("line 4, a row: ")
    assert words in message.splitlines()[0]


commanding = pytest.mark.parametrize("letter", ["\x1b", "\x00", "\u202e"])


@commanding
@pytest.mark.parametrize("field", ["name", "backend", "hardware", "operating_system", "runtime", "precision"])
def test_a_device_whose_record_commands_a_terminal_is_refused(tmp_path: Path, field: str, letter: str) -> None:
    changed: dict[str, Any] = {field: f"a{letter}[31mb"}
    write_export(small_export(dataclasses.replace(DEVICE, **changed)), tmp_path / "table.csv")
    assert complaint(tmp_path / "table.csv").startswith(f"line 2, a device: {field}")


@commanding
@pytest.mark.parametrize("place", ["name", "value", "value in a list", "name below", "value below"])
def test_a_document_that_commands_a_terminal_is_refused(tmp_path: Path, place: str, letter: str) -> None:
    word = f"a{letter}b"
    documents: dict[str, dict[str, Any]] = {
        "name": {word: 1},
        "value": {"kernel": word},
        "value in a list": {"sensors": [word]},
        "name below": {"versions": {word: "1"}},
        "value below": {"versions": {"python": word}},
    }
    campaign = dataclasses.replace(SMALL.campaigns[0], environment_before=json.dumps(documents[place]))
    write_export(dataclasses.replace(SMALL, campaigns=(campaign,)), tmp_path / "table.csv")
    message = complaint(tmp_path / "table.csv")
    assert message.startswith("line 3, a campaign: ")
    assert message.replace("\n", "").isprintable()


@commanding
def test_a_placement_that_commands_a_terminal_is_refused(tmp_path: Path, letter: str) -> None:
    report = LoadReport(load_ms=1.0, first_run_ms=1.0, peak_memory_mib=None, placement={f"cpu{letter}": 1})
    row = dataclasses.replace(SMALL.rows[0], load_report=report.to_json())
    write_export(dataclasses.replace(SMALL, rows=(row, SMALL.rows[1])), tmp_path / "table.csv")
    assert complaint(tmp_path / "table.csv").startswith("line 4, a row: placement")


def test_a_network_is_refused_in_words_that_command_no_terminal(tmp_path: Path) -> None:
    network = next(each for each in SUBJECTS if each.kind == "network")
    text = network.text.replace("{", '{"\\u001b[31m": 1, ', 1)
    subject = Subject(kind="network", text=text)
    row = dataclasses.replace(SMALL.rows[0], kind="network", text=text, subject_id=subject.subject_id)
    write_export(dataclasses.replace(SMALL, rows=(row,), samples=()), tmp_path / "table.csv")
    message = complaint(tmp_path / "table.csv")
    assert message.startswith("line 4, a row: architecture JSON has the unknown key ?[31m")


@every_format
def test_another_version_says_which_ones_are_known(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setattr(exchange_files, "EXCHANGE_VERSION", 7)
        context.setitem(COLUMNS, "colour", str)
        write_export(SMALL, tmp_path / name)
    with pytest.raises(UsageError) as caught:
        read_export(tmp_path / name)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the file's schema version is 7"
    assert lines[1] == f"allowed: version {EXCHANGE_VERSION}"
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda table: table.drop_columns(["drift"]), "columns are not those of a latency table"),
        (lambda table: table.append_column("more", pyarrow.array([1] * len(table))), "columns are not those"),
        (lambda table: table.slice(0, 0).drop_columns(["drift"]), "columns are not those"),
        (lambda table: table.append_column("more", pyarrow.array([[1]] * len(table))), "the column more holds list"),
        (
            lambda table: table.set_column(
                table.schema.get_field_index("raw_ms"), "raw_ms", pyarrow.array([float("nan")] * len(table))
            ),
            "the cell of raw_ms is not a number",
        ),
    ],
)
def test_parquet_of_another_shape_is_refused(
    tmp_path: Path, edit: Callable[[pyarrow.Table], pyarrow.Table], words: str
) -> None:
    path = tmp_path / "table.parquet"
    write_export(SMALL, path)
    pyarrow.parquet.write_table(edit(pyarrow.parquet.read_table(path)), path)
    with pytest.raises(UsageError, match=words):
        read_export(path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no other system keeps the limit of a process's memory")
def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    """64 MiB that every one of a thousand lines shares: 64 GiB of text in a small file."""
    path = tmp_path / "table.parquet"
    shared = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1000, pyarrow.int32()), ["x" * 2**26])
    pyarrow.parquet.write_table(
        pyarrow.table([shared], names=["document"]), path, compression="zstd", store_schema=False
    )
    assert path.stat().st_size < 2**20
    with pytest.raises(UsageError, match="GiB of memory|ended the process"):
        read_export(path)


@pytest.mark.slow
def test_text_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    table = pyarrow.table([["x" * 2**17] * 2100], names=["document"])
    pyarrow.parquet.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 2**20
    with pytest.raises(UsageError, match="holds more than 256 MiB of text"):
        read_export(path)


def test_a_file_that_takes_for_ever_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_export(SMALL, tmp_path / "table.parquet")
    monkeypatch.setattr(exchange_parquet, "MAX_UNPACKING_S", 0.01)
    with pytest.raises(UsageError, match="could not be unpacked within"):
        read_export(tmp_path / "table.parquet")


@every_format
def test_files_and_lines_have_a_limit(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_export(SMALL, tmp_path / name)
    with monkeypatch.context() as context:
        context.setattr(exchange_files, "MAX_FILE_BYTES", 100)
        with pytest.raises(UsageError, match="is larger than"):
            read_export(tmp_path / name)
    monkeypatch.setattr(exchange_checks, "MAX_LINES", 5)
    with pytest.raises(UsageError, match="more than 5 lines"):
        read_export(tmp_path / name)


@every_format
@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "MAX_LINES"])
def test_what_an_import_would_refuse_is_not_written(
    tmp_path: Path, name: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_files, limit, 5)
    with pytest.raises(UsageError, match="as much as an import reads"):
        write_export(SMALL, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "absent.csv", "there is no file"),
        (tmp_path / "table.xlsx", "has no format"),
        (Path("/dev/zero"), "has no format"),
    ):
        with pytest.raises(UsageError, match=words):
            read_export(path)
    with pytest.raises(UsageError, match="cannot be written"):
        write_export(SMALL, tmp_path / "absent" / "table.csv")
    with pytest.raises(UsageError, match="has no format"):
        write_export(SMALL, tmp_path / "table")
    assert not list(tmp_path.iterdir())
