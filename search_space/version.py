"""Which SnapNAS this is: the version, the commit of a checkout, and the libraries whose versions change results.

Versions are read from the installed packages' metadata, so that `--version` answers without importing torch.
"""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

__version__ = "0.1.0"

KEY_DEPENDENCIES = ("torch", "optuna", "ray", "onnx", "onnxruntime", "coremltools", "sqlalchemy", "numpy")

_ROOT = Path(__file__).resolve().parent.parent


def git_commit() -> str | None:
    """The commit of the checkout this code runs from, marked `-dirty` if files changed; None when installed."""
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # a checkout copied to a machine without git
        return None
    return completed.stdout.strip() or None


def dependency_versions() -> dict[str, str]:
    """The installed version of every key dependency; those that are absent are left out."""
    versions = {}
    for name in KEY_DEPENDENCIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def version_text() -> str:
    """What `--version` prints: one line for SnapNAS, one for Python and the key dependencies."""
    commit = git_commit()
    dependencies = ", ".join(f"{name} {version}" for name, version in dependency_versions().items())
    return (
        f"snapnas {__version__}{f' (commit {commit})' if commit else ''}\n"
        f"Python {platform.python_version()}, {dependencies}"
    )
