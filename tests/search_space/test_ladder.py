"""Our reading of SnapGen meets what the paper publishes."""

import json
from pathlib import Path

import pytest

from search_space.counts import count
from search_space.ladder import PUBLISHED, Options, ladder, print_ladder
from search_space.references import reference, snapgen_imagenet, snapgen_ladder

LADDER_PAGE = Path(__file__).parents[2] / "docs" / "snapgen-ladder.md"


def test_every_published_percentage_is_met_within_one_and_a_half_points() -> None:
    compared = 0
    for step in ladder():
        pairs = (
            (step.num_params_percent, step.published_num_params_percent),
            (step.macs_percent, step.published_macs_percent),
        )
        for here, published in pairs:
            if here is not None and published is not None:
                assert abs(here - published) <= 1.5, step.title
                compared += 1
    assert compared == sum((c.num_params_percent is not None) + (c.macs_percent is not None) for c in PUBLISHED) == 8


@pytest.mark.parametrize(("name", "published"), [("snapgen_imagenet", 372e6), ("snapgen_t2i", 379e6)])
def test_snapgen_has_the_published_number_of_parameters_within_one_percent(name: str, published: float) -> None:
    assert count(reference(name)).num_params == pytest.approx(published, rel=0.01)


def test_the_last_step_is_the_network_and_each_step_is_another() -> None:
    assert snapgen_ladder()[-1][1] == snapgen_imagenet()
    assert len({arch.arch_id for _, arch in snapgen_ladder()}) == len(snapgen_ladder()) == 8


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    print_ladder(Options())
    assert f"\n\n{capsys.readouterr().out}\n" in LADDER_PAGE.read_text()


def test_json_has_every_step_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    print_ladder(Options(json=True))
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [step["num_params"] for step in steps] == [count(arch).num_params for _, arch in snapgen_ladder()]
