"""When a file of a latency table is believed: nothing in it is trusted.

`checked_export` refuses what a table of ours cannot have written: a cell in a column that its kind of line does not
have, a device whose id is not the hash of its record, a block that is not spelled as `spec_key` spells it or that no
device could run, which would spoil every guess of its device, text that a terminal would obey, samples that are not
finite and above zero, or that belong to nothing.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from profilers.device import Device
from profilers.exchange_csv import FIX, Cell
from profilers.exchange_records import LINE_KINDS, CampaignLine, DeviceLine, LatencyExport, Line, RowLine, Word
from profilers.load_report import LoadReport
from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.counts import count_block
from search_space.errors import UsageError
from search_space.specs import SPEC_KINDS, BlockSpec, TransformerSpec, spec_from_key, spec_key

MAX_LINES = 2_000_000  # a space of 10,000 blocks, measured 28 times each, has 300,000
MAX_BLOCK_WORK = 2**50
"""Of a block: its multiply-accumulates, and the bytes of its weights and of what enters and leaves it. The largest of
`snapgen` has 2**39."""
MAX_BLOCK_DEPTH = 100
"""Transformers that follow each other in one block; SDXL has ten."""

_MAY_BE_ZERO = ("skip_channels", "context_width", "context_length", "pooled_text_width", "norm_groups")
_SpecNumber = Annotated[int, Field(ge=0, le=2**20)]
_Fact = Word | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | bool | None


def checked_export(numbered_cells: Iterable[tuple[int, Mapping[str, Cell]]]) -> LatencyExport:
    """The content of a file, from its lines' numbers and cells.

    Raises:
        UsageError: Some line is not what a table of ours could have written.
    """
    lines: dict[type[Line], list[Any]] = {kind: [] for kind in LINE_KINDS.values()}
    for count, (number, cells) in enumerate(numbered_cells, start=1):
        if count > MAX_LINES:
            raise UsageError(f"more than {MAX_LINES:,} lines", fix="export one version of the device, by its id")
        line = _line(number, cells)
        lines[type(line)].append(line)
    export = LatencyExport(**{f"{kind.record}s": tuple(found) for kind, found in lines.items()})
    _require_references(export)
    return export


def _line(number: int, cells: Mapping[str, Cell]) -> Line:
    filled = {name: value for name, value in cells.items() if value is not None}
    kind = LINE_KINDS.get(str(filled.pop("record", "")))
    if kind is None:
        raise UsageError(f"line {number}: its record is of no known kind", allowed=", ".join(LINE_KINDS), fix=FIX)
    try:
        line: Line = _adapters()[kind].validate_json(json.dumps(filled))
        match line:
            case DeviceLine():
                _require_device(line)
            case CampaignLine():
                for document in (line.protocol, line.environment_before, line.environment_after):
                    if document is not None:
                        _facts_adapter().validate_json(document)
            case RowLine():
                _require_row(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"])) or "JSON"
        raise UsageError(f"line {number}, a {kind.record}: {place}: {problem['msg']}", fix=FIX) from None
    except _LineError as error:
        raise UsageError(f"line {number}, a {kind.record}: {error}", fix=FIX) from None
    return line


class _LineError(Exception):
    """What a line says is not so."""


def _require_device(line: DeviceLine) -> None:
    _facts_adapter().validate_json(line.document)
    device = _adapters()[Device].validate_json(line.document)
    if device.to_json() != line.document:
        raise _LineError("its document is not spelled as a device's record is")
    if device.device_id != line.device_id:
        raise _LineError(f"the hash of its record is {device.device_id}, not {line.device_id}")


def _require_row(line: RowLine) -> None:
    subject = Subject(kind=line.kind, text=line.text)
    if subject.subject_id != line.subject_id:
        raise _LineError(f"the hash of its text is {subject.subject_id}, not {line.subject_id}")
    try:
        match line.kind:
            case "block":
                is_canonical = spec_key(_spec(line.text)) == line.text
            case "network":
                is_canonical = arch_from_json(line.text).to_json() == line.text
    except UsageError as error:
        raise _LineError(str(error).partition("\n")[0]) from None
    if not is_canonical:
        raise _LineError(f"its text is not spelled as a {line.kind}'s key is")
    if line.load_report is not None:
        _facts_adapter().validate_json(line.load_report)
        if _adapters()[LoadReport].validate_json(line.load_report).to_json() != line.load_report:
            raise _LineError("its load_report is not spelled as ours are")
    if (line.finished_at is None) != (line.status == "sampling"):
        raise _LineError("a row has a time at which it was finished if, and only if, it is finished")
    if (line.reason is None) != (line.status in ("sampling", "measured", "unstable")):
        raise _LineError("a row has a reason if, and only if, it failed or does not fit")


def _spec(text: str) -> BlockSpec:
    _spec_facts_adapter().validate_json(text)  # flat, and of numbers that multiply to something
    spec = spec_from_key(text)
    fields = {name: getattr(spec, name) for name in type(spec).__dataclass_fields__ if name != "kind"}
    _adapters()[type(spec)].validate_json(json.dumps(fields), strict=True)
    zeros = [name for name, value in fields.items() if value == 0 and type(value) is int and name not in _MAY_BE_ZERO]
    if zeros:
        raise _LineError(f"a block whose {zeros[0]} is 0")
    if isinstance(spec, TransformerSpec) and (spec.depth > MAX_BLOCK_DEPTH or spec.head_dim == 0):
        raise _LineError(f"a block with more heads than channels, or of more than {MAX_BLOCK_DEPTH} transformers")
    counts = count_block(spec)
    if max(counts.macs, counts.weight_bytes, counts.activation_bytes) > MAX_BLOCK_WORK:
        raise _LineError("a block that no device could run")
    return spec


def _require_references(export: LatencyExport) -> None:
    devices = _distinct((line.device_id for line in export.devices), "device")
    campaigns = _distinct(((line.device_id, line.campaign) for line in export.campaigns), "campaign")
    rows = _distinct(((line.device_id, line.subject_id) for line in export.rows), "row")
    if not {device_id for device_id, _ in campaigns | rows} <= devices:
        raise UsageError("a campaign or a row belongs to a device that is not in the file", fix=FIX)
    if not {(line.device_id, line.campaign) for line in export.samples} <= campaigns:
        raise UsageError("a sample belongs to a campaign that is not in the file", fix=FIX)
    sampled = {(line.device_id, line.subject_id) for line in export.samples}
    if not sampled <= rows:
        raise UsageError("a sample belongs to a row that is not in the file", fix=FIX)
    if not {(line.device_id, line.subject_id) for line in export.rows if line.has_latency} <= sampled:
        raise UsageError("a row says it is measured and has no samples", fix=FIX)
    measured_devices = {device_id for device_id, _ in sampled}
    if measured_devices & {line.device_id for line in export.devices if line.sentinel_ms is None}:
        raise UsageError("a device has samples and no sentinel that their drift is relative to", fix=FIX)


def _distinct(keys: Iterable[Any], what: str) -> set[Any]:
    found: set[Any] = set()
    for key in keys:
        if key in found:
            raise UsageError(f"the same {what} stands in the file twice", fix=FIX)
        found.add(key)
    return found


@functools.cache
def _adapters() -> dict[type[Any], TypeAdapter[Any]]:
    return {kind: TypeAdapter(kind) for kind in (Device, LoadReport, *LINE_KINDS.values(), *SPEC_KINDS.values())}


@functools.cache
def _facts_adapter() -> TypeAdapter[Any]:
    """A document that is no block: names with values, at most one level deeper."""
    facts = dict[Word, _Fact | list[_Fact] | dict[Word, _Fact]]
    return TypeAdapter(facts, config={"strict": True, "allow_inf_nan": False})


@functools.cache
def _spec_facts_adapter() -> TypeAdapter[Any]:
    return TypeAdapter(dict[str, bool | _SpecNumber | str], config={"strict": True})
