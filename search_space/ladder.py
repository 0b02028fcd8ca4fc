"""`python -m search_space.ladder`: SnapGen's ablation steps, counted here and as published.

SnapGen (arXiv:2412.09619, Table 1) gives what each architectural step does to parameters and FLOPs in per cent. This
command counts our reading of each step and sets the two side by side: it is the evidence that `snapgen_imagenet` is the
network the paper describes.
"""

from dataclasses import asdict, dataclass

from search_space.command_line import print_json, run
from search_space.counts import count
from search_space.references import snapgen_ladder


@dataclass(frozen=True, kw_only=True)
class Options:
    """Count the steps of SnapGen's ablation and compare them with the paper's percentages."""

    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class PublishedChange:
    """What the paper says a step changes."""

    step: str
    """The step."""
    against: str
    """The step it is compared with."""
    num_params_percent: float | None
    """Change of the number of parameters."""
    macs_percent: float | None
    """Change of FLOPs, which is that of multiply-accumulates."""


PUBLISHED = (
    PublishedChange(step="1", against="0", num_params_percent=None, macs_percent=-17),
    PublishedChange(step="2a", against="1", num_params_percent=-24, macs_percent=None),
    PublishedChange(step="2b", against="1", num_params_percent=-15, macs_percent=-27),
    PublishedChange(step="3", against="2b", num_params_percent=-12, macs_percent=-12),
    PublishedChange(step="4", against="3", num_params_percent=-16, macs_percent=-6),
)
"""The paper's percentages."""


@dataclass(frozen=True, kw_only=True)
class LadderStep:
    """One step, as counted and as published."""

    title: str
    """The step's number and what it does."""
    arch_id: str
    """Our reading of it."""
    num_params: int
    """Parameters."""
    macs: int
    """Multiply-accumulates at 128 x 128 latents."""
    against: str = ""
    """The step that the changes are relative to."""
    num_params_percent: float | None = None
    """Change of the number of parameters."""
    macs_percent: float | None = None
    """Change of multiply-accumulates."""
    published_num_params_percent: float | None = None
    """The paper's change of parameters."""
    published_macs_percent: float | None = None
    """The paper's change of FLOPs."""


def ladder() -> tuple[LadderStep, ...]:
    """Every step with its counts and, where the paper gives one, its change."""
    counted = {title.split()[0]: (title, arch, count(arch)) for title, arch in snapgen_ladder()}
    published = {change.step: change for change in PUBLISHED}
    steps = []
    for step, (title, arch, costs) in counted.items():
        row = LadderStep(title=title, arch_id=arch.arch_id, num_params=costs.num_params, macs=costs.macs)
        if step in published:
            change = published[step]
            reference = counted[change.against][2]
            row = LadderStep(
                **{
                    **asdict(row),
                    "against": change.against,
                    "num_params_percent": 100 * (costs.num_params / reference.num_params - 1),
                    "macs_percent": 100 * (costs.macs / reference.macs - 1),
                    "published_num_params_percent": change.num_params_percent,
                    "published_macs_percent": change.macs_percent,
                }
            )
        steps.append(row)
    return tuple(steps)


def print_ladder(options: Options) -> None:
    """Prints the ladder as a Markdown table, or as JSON."""
    steps = ladder()
    if options.json:
        print_json({"steps": [asdict(step) for step in steps]})
        return
    print("| step | parameters, M | GMACs | against | parameters: here (paper) | MACs: here (paper) |")
    print("|---|---|---|---|---|---|")
    for step in steps:
        params = _change(step.num_params_percent, step.published_num_params_percent)
        macs = _change(step.macs_percent, step.published_macs_percent)
        sizes = f"{step.num_params / 1e6:.1f} | {step.macs / 1e9:.1f}"
        print(f"| {step.title} | {sizes} | {step.against} | {params} | {macs} |")


def _change(here: float | None, paper: float | None) -> str:
    if here is None:
        return ""
    return f"{here:+.1f} % ({f'{paper:+.0f} %' if paper is not None else 'not given'})"


if __name__ == "__main__":
    run(print_ladder, Options, prog="search_space.ladder")
