"""`python -m profilers.calibrate`: fits the formula for phones nobody here can touch, and says what it is worth."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from search_space import command_line


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Fits the estimated devices (iphone-..., ipad-...) to published latencies, with leave-one-out errors."""

    write: bool = False
    """Store the constants in profilers/roofline/calibration.json, where the devices read them."""
    out: str = ""
    """Write the page as Markdown to this file."""
    json: bool = False
    """Print the fit as one JSON line on stdout."""


def calibrate(options: CalibrateOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    from profilers.roofline.calibration import CALIBRATION_PATH
    from profilers.roofline.fitting import fit, fitted_figures, left_out_half_width, rounded
    from profilers.roofline.published import published_figures
    from profilers.roofline.report import json_document, text

    command_line.require_folder_of(options.out, option="--out")
    figures = published_figures()
    calibration = rounded(fit(figures))
    fitted = fitted_figures(figures, calibration)
    calibration = rounded(dataclasses.replace(calibration, relative_half_width=left_out_half_width(fitted)))
    print(text(calibration, fitted), file=sys.stderr)
    if options.out:
        title = "# Estimated phones against published latencies"
        command = f"    python -m profilers.calibrate --out {options.out}"
        Path(options.out).write_text("\n\n".join((title, command, text(calibration, fitted))) + "\n")
    if options.write:
        CALIBRATION_PATH.write_text(calibration.to_json())
        print(f"written to {CALIBRATION_PATH.name}", file=sys.stderr)
    if options.json:
        command_line.print_json(json_document(calibration, fitted))


if __name__ == "__main__":
    command_line.run(calibrate, CalibrateOptions, prog="profilers.calibrate")
