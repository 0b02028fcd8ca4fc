"""Rules about the sources as text: nothing on disk may become code, and the settings agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("search_space", "training", "deploy", "proxies", "profilers", "studies", "dashboard")

# Calls that can run code out of a file; a study or a checkpoint may come from a stranger.
UNSAFE_CALLS = re.compile(
    r"\bpickle\.loads?\(|\btorch\.load\(|allow_pickle=True|\byaml\.(unsafe_|full_)?load\(|\bjoblib\.load\("
    r"|trust_remote_code=True|(?<![\w.])(eval|exec)\("
)


def _sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_can_become_code(path: Path) -> None:
    assert UNSAFE_CALLS.findall(path.read_text()) == []


def test_every_module_says_what_it_is() -> None:
    assert [path for path in _sources() if not path.read_text().startswith(('"""', 'r"""'))] == []


def _distribution_name(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def test_every_dependency_is_a_range_and_has_a_tested_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {_distribution_name(line) for line in constraints if not line.startswith("#")}
    for requirement in [*project["dependencies"], *optional]:
        if requirement.startswith("snapnas"):
            continue
        assert ">=" in requirement
        if "python_version" not in requirement:
            assert _distribution_name(requirement) in pinned


def test_constraints_are_exact_versions_that_every_index_has() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert "torch==2.13.0" in lines


def test_every_package_is_in_the_distribution_the_types_and_the_layers() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    layers = {name for line in tools["importlinter"]["contracts"][0]["layers"] for name in line.split(" | ")}
    assert set(tools["hatch"]["build"]["targets"]["wheel"]["packages"]) == found
    assert set(tools["mypy"]["files"]) - {"tests"} == found
    assert layers == found
