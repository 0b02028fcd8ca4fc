"""The pictures that a trial left, read so that a page can show them: PNG and JPEG by their first bytes, nothing else.

A database may come from a stranger. So a path must stay inside the workspace, the content must be what the database
says it is, and a file's name decides nothing: an SVG or a page called `samples.png` is not a picture. Imports no torch.
"""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from studies.results import Artifact

_PICTURE_KIND = "samples"
_MAX_PICTURE_BYTES = 32 * 2**20
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def picture_artifacts(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """The artifacts that should be pictures; one that was also copied into an export is listed once."""
    by_content = {artifact.sha256: artifact for artifact in artifacts if artifact.kind == _PICTURE_KIND}
    return list(by_content.values())


def picture_type(content: bytes) -> str | None:
    """`image/png` or `image/jpeg`, by the first bytes; None for anything else."""
    return next((kind for signature, kind in _SIGNATURES.items() if content.startswith(signature)), None)


def read_picture(workspace: Path, artifact: Artifact) -> bytes | None:
    """The picture's bytes; None if it is gone, outside the workspace, changed, too large or not a picture."""
    root = workspace.resolve()
    try:
        path = (root / artifact.path).resolve()
        if not path.is_relative_to(root) or path.stat().st_size > _MAX_PICTURE_BYTES:
            return None
        content = path.read_bytes()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    is_unchanged = hashlib.sha256(content).hexdigest() == artifact.sha256
    return content if is_unchanged and picture_type(content) else None


def data_uri(content: bytes) -> str:
    """A picture as text that an HTML file can hold."""
    return f"data:{picture_type(content)};base64,{base64.b64encode(content).decode()}"
