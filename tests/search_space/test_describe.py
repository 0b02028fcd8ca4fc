"""`python -m search_space.describe`: what it reads, what it prints, what it refuses."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search_space.counts import count
from search_space.describe import Options, describe, description, read_arch
from search_space.diffusers_config import OWN_CLASS, to_diffusers_config
from search_space.errors import UsageError
from search_space.references import REFERENCES, dreamlite, sd15, snapgen_t2i
from search_space.walk import walk

ROOT = Path(__file__).parents[2]
TOP_KEYS = ["arch_id", "num_params", "macs", "weight_bytes", "num_blocks", "num_distinct_blocks", "blocks"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "search_space.describe", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def printed(capsys: pytest.CaptureFixture[str], arch: str, **options: Any) -> Any:
    describe(Options(arch=arch, json=True, **options))
    return json.loads(capsys.readouterr().out)


def test_json_of_sd15_has_the_promised_keys_and_values() -> None:
    finished = run("sd15", "--json")
    assert (finished.returncode, finished.stderr) == (0, "")
    document = json.loads(finished.stdout)
    assert finished.stdout.count("\n") == 1
    assert list(document) == TOP_KEYS
    assert document["arch_id"] == sd15().arch_id
    assert document["num_params"] == 859_520_964
    assert document["weight_bytes"] == 4 * 859_520_964
    assert document["macs"] == 401_636_720_640
    assert document["num_blocks"] == len(document["blocks"]) == len(walk(sd15()))
    distinct = {json.dumps([block["kind"], block["spec"]]) for block in document["blocks"]}
    assert document["num_distinct_blocks"] == len(distinct)
    for cost in ("num_params", "macs", "weight_bytes"):
        assert sum(block[cost] for block in document["blocks"]) == document[cost]
    assert document["blocks"][0]["name"] == "time_embedding"


def test_torch_is_not_imported() -> None:
    program = (
        "import sys; from search_space.describe import Options, describe; describe(Options(arch='sdxl', json=True));"
        "sys.exit([name for name in ('torch', 'diffusers', 'optuna') if name in sys.modules] and 'imported' or 0)"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    ours = tmp_path / "arch.json"
    ours.write_text(snapgen_t2i().to_json())
    folder = tmp_path / "unet"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(to_diffusers_config(dreamlite())))
    exported = tmp_path / "config.json"
    exported.write_text(json.dumps({"_class_name": OWN_CLASS, "arch": json.loads(snapgen_t2i().to_json())}))

    assert read_arch(str(ours)) == read_arch(str(exported)) == read_arch("snapgen_t2i") == snapgen_t2i()
    assert read_arch(str(folder)) == read_arch(str(folder / "config.json")) == dreamlite()


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_described_with_their_counts(name: str) -> None:
    arch = REFERENCES[name]()
    document = description(arch)
    assert (document["num_params"], document["macs"]) == (count(arch).num_params, count(arch).macs)


def test_size_of_the_latent_and_number_of_tokens_change_cost_and_not_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    as_published = printed(capsys, "sd15")
    larger = printed(capsys, "sd15", latent=128, text_tokens=154)
    expected = count(dataclasses.replace(sd15(), sample_size=128, context_length=154))
    assert larger["macs"] == expected.macs > 4 * as_published["macs"]
    assert larger["num_params"] == as_published["num_params"]
    assert printed(capsys, "sd15", latent=64, text_tokens=77) == as_published


def test_config_is_readable_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    describe(Options(arch="dreamlite", config=True, latent=64))
    path = tmp_path / "arch.json"
    path.write_text(capsys.readouterr().out)
    assert read_arch(str(path)) == dataclasses.replace(dreamlite(), sample_size=64)


def test_people_get_a_table_with_every_block_and_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    describe(Options(arch="bk_sdm_tiny"))
    out = capsys.readouterr().out
    assert all(block.name in out for block in walk(REFERENCES["bk_sdm_tiny"]()))
    assert "323,384,964 parameters" in out
    assert "64 x 64 latent and 77 text tokens" in " ".join(out.split())


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "arch.json"
    path.write_text(text)
    return str(path)


def unknown_key() -> str:
    return json.dumps(json.loads(sd15().to_json()) | {"norm_group": 8})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the document"),
        ("[" * 100_000, "the document"),
        ("{}", "missing|required"),
        (unknown_key(), "unknown key norm_group\nallowed: did you mean 'norm_groups'"),
        ('{"_class_name": "FluxTransformer2DModel"}', "_class_name is 'FluxTransformer2DModel'"),
        ('{"_class_name": "UNet2DConditionModel", "act_fn": "gelu"}', "act_fn"),
        (f'{{"_class_name": "{OWN_CLASS}"}}', "the document"),
    ],
)
def test_a_file_that_describes_nothing_is_refused_in_three_lines(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        read_arch(written(tmp_path, text))
    assert len(str(refusal.value).splitlines()) <= 3


def test_a_name_or_a_latent_that_is_wrong_is_refused_in_three_lines(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'sd16' is neither.*\nallowed: sd15"):
        read_arch("sd16")
    with pytest.raises(UsageError, match="can be read"):
        read_arch(str(tmp_path))
    for latent in (60, -8):
        with pytest.raises(UsageError, match=f"sample_size is {latent}\nallowed: a multiple of 8"):
            describe(Options(arch="sd15", latent=latent))
    with pytest.raises(UsageError, match="context_length is -1"):
        describe(Options(arch="sd15", text_tokens=-1))


@pytest.mark.parametrize("arguments", [("sd16",), ("sd15", "--latent", "60"), ("sd15", "--latent", "wide"), ()])
def test_bad_input_ends_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    finished = run(*arguments)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert 1 <= len(finished.stderr.splitlines()) <= 3
