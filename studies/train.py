"""Fully trains one architecture: `python -m studies.train TRIAL`.

A trial of a study is trained as the study's winner would be; an architecture file as a recipe says. Both follow the
cached teacher. To resume, type the same command again.
"""

import sys

from search_space import command_line
from studies.train_options import TrainOptions


def train(options: TrainOptions) -> None:
    """The command."""
    from studies.training_plan import carry_out, resolve

    plan = resolve(options)
    document = plan.document()
    if options.dry_run:
        lines = [f"{name}: {value}" for name, value in document.items() if value is not None]
        command_line.print_json(document) if options.json else print("\n".join(lines))
        return
    trained = carry_out(plan)
    print("scores: " + ", ".join(f"{name} {value:.3g}" for name, value in trained.scores.items()), file=sys.stderr)
    print(f"samples: {trained.grid}\ntrained: {trained.folder}", file=sys.stderr)
    if options.json:
        command_line.print_json({**document, "scores": trained.scores, "samples": str(trained.grid)})


if __name__ == "__main__":
    command_line.run(train, TrainOptions, prog="studies.train")
