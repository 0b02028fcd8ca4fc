"""Reads what the database says a trial left on disk, so that a page can show it. Imports no torch.

A database may come from a stranger. So a path must stay inside the workspace, and the content must be what the database
says it is.
"""

import hashlib
from pathlib import Path

from studies.results import Artifact

_MAX_BYTES = 32 * 2**20


def read_artifact(workspace: Path, artifact: Artifact) -> bytes | None:
    """The file's content; None if it is gone, outside the workspace, changed or too large for a page."""
    root = workspace.resolve()
    try:
        path = (root / artifact.path).resolve()
        if not path.is_relative_to(root) or path.stat().st_size > _MAX_BYTES:
            return None
        content = path.read_bytes()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return content if hashlib.sha256(content).hexdigest() == artifact.sha256 else None
