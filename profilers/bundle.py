"""`python -m profilers.bundle`: sends blocks and networks of a space to a Mac, and reads what the Mac measured.

Without --import it writes a folder that is copied to a Mac, where `python run_bundle.py` measures it; with --import it
takes the `results.json` that came back into the latency table.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from profilers.defaults import DEFAULT_STORAGE
from search_space import command_line
from search_space.errors import UsageError

if TYPE_CHECKING:
    from profilers.backends.core_ml import CoreMLOptions
    from profilers.bundling.writing import WrittenBundle


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    """Packs every block of a space for Core ML into a folder to run on a Mac; --import reads what came back.

    To resume, run the same command again: what is converted stays. With other --blocks or --networks the bundle holds
    what was asked for last, and the Mac measures it anew, into another file (run_bundle.py --results NAME).
    """

    space: str = "tiny"
    """Search space: tiny, mid or snapgen."""
    device: str = "core-ml"
    """core-ml, perhaps with units= all, cpu_only, cpu_and_gpu or cpu_and_ne, and layout= plain or split_einsum."""
    out: str = ""
    """The bundle's folder; by default bundles/<space>-<layout>."""
    blocks: int | None = None
    """How many blocks, those that say most of the others (profilers.estimate --interpolate); all by default."""
    networks: int = 0
    """How many random networks beside them, for profilers.check or profilers.transfer."""
    processes: int = 1
    """Models that are converted at once; about 1 GB of memory each."""
    import_results: Annotated[str, tyro.conf.arg(name="import")] = ""
    """A results.json that the bundle's folder gave on a Mac: goes into the latency table."""
    storage: str = DEFAULT_STORAGE
    """With --import, database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    json: bool = False
    """Print what was done as one JSON line on stdout."""

    def __post_init__(self) -> None:
        if (self.blocks or 0) < 0 or self.networks < 0 or self.processes < 1:
            raise UsageError(
                f"--blocks {self.blocks} --networks {self.networks} --processes {self.processes} was given",
                allowed="blocks and networks from 0, processes from 1",
            )
        if self.blocks == 0 and not self.networks:
            raise UsageError("--blocks 0 was given, and no networks", allowed="a bundle with something in it")


def bundle(options: BundleOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    from profilers.backends.core_ml import BASE_NAME, CoreMLOptions
    from profilers.backends.device_options import read_options, split_device_name

    base, given = split_device_name(options.device)
    if base != BASE_NAME:
        raise UsageError(f"--device {options.device} was given", allowed=f"{BASE_NAME} with or without options")
    device_options = read_options(BASE_NAME, CoreMLOptions, given)
    if device_options.target != "mac":
        raise UsageError(
            f"--device {options.device} was given, but a bundle fits every device",
            fix=f"on the Mac: python run_bundle.py --connected {device_options.target} --team TEAM",
        )
    folder = Path(options.out or f"bundles/{options.space}-{device_options.layout}")
    if options.import_results:
        _import(Path(options.import_results), folder, options)
    else:
        _write(folder, options, device_options)


def _write(folder: Path, options: BundleOptions, device_options: "CoreMLOptions") -> None:
    from profilers.bundling.writing import write_bundle

    written = write_bundle(
        folder,
        options.space,
        layout=device_options.layout,
        units=[device_options.units],
        max_blocks=options.blocks,
        num_networks=options.networks,
        num_processes=options.processes,
    )
    print(_summary(written, folder), file=sys.stderr)
    if options.json:
        command_line.print_json(
            {
                "folder": str(folder),
                "space": options.space,
                "layout": device_options.layout,
                "num_models": len(written.manifest.models),
                "num_converted_now": written.num_converted,
                "num_failed": len(written.manifest.failures),
                "packed_bytes": written.packed_bytes,
                "weight_bytes": written.weight_bytes,
                "duration_s": round(written.duration_s, 1),
            }
        )


def _summary(written: "WrittenBundle", folder: Path) -> str:
    manifest = written.manifest
    lines = [
        f"{len(manifest.models)} models in {folder}, {written.num_converted} of them new, {written.duration_s:.0f} s",
        f"{written.packed_bytes / 2**20:.1f} MiB to copy, {written.weight_bytes / 2**20:.0f} MiB of weights unpacked",
        *(f"failed: {failure.reason}" for failure in manifest.failures),
        f"next: copy {folder} to a Mac, and there: pip install coremltools numpy; python run_bundle.py",
    ]
    return "\n".join(lines)


def _import(results: Path, folder: Path, options: BundleOptions) -> None:
    from profilers.bundling.results import import_results
    from profilers.storage import display_url, open_engine

    imported = import_results(results, folder, open_engine(options.storage))
    for device_name, num_samples in imported.num_new_samples.items():
        print(f"{device_name}: {num_samples} new samples in {display_url(options.storage)}", file=sys.stderr)
    if imported.num_failed:
        print(f"models that could not run there: {imported.num_failed}", file=sys.stderr)
    if options.json:
        command_line.print_json({"num_new_samples": imported.num_new_samples, "num_failed": imported.num_failed})


if __name__ == "__main__":
    command_line.run(bundle, BundleOptions, prog="profilers.bundle")
