"""Where a study keeps the files of a trial, for everyone who writes or looks for them. Imports no torch.

<workspace>/studies/<study>/trial-0012/samples.png    what the search drew with it
                                      /trained/       from studies.trained
                                      /exported/      from studies.exported
"""

from pathlib import Path


def trial_folder(workspace: Path, study_name: str, number: int) -> Path:
    """The folder of one trial; nothing says that it is there."""
    return workspace / "studies" / study_name / f"trial-{number:04}"
