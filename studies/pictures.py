"""The pictures that a trial left, read so that a page can show them: PNG and JPEG by their first bytes, nothing else.

A file's name decides nothing: an SVG or a page called `samples.png` is not a picture. Imports no torch.
"""

import base64
from collections.abc import Iterable
from pathlib import Path

from studies.artifact_files import read_artifact
from studies.results import Artifact

_CAPTIONS = {"grid": "after its full training", "samples": "as the search saw it, after a short training"}
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def picture_artifacts(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """The artifacts that should be pictures; one that was also copied into an export is listed once."""
    by_content = {artifact.sha256: artifact for artifact in artifacts if artifact.kind in _CAPTIONS}
    return list(by_content.values())


def picture_caption(artifact: Artifact) -> str:
    """What the picture shows, and where it is."""
    return f"Trial {artifact.number} {_CAPTIONS[artifact.kind]}: {artifact.path}"


def picture_type(content: bytes) -> str | None:
    """`image/png` or `image/jpeg`, by the first bytes; None for anything else."""
    return next((kind for signature, kind in _SIGNATURES.items() if content.startswith(signature)), None)


def read_picture(workspace: Path, artifact: Artifact) -> bytes | None:
    """The picture's bytes; None if `read_artifact` gives none, or they are not a picture."""
    content = read_artifact(workspace, artifact)
    return content if content is not None and picture_type(content) else None


def data_uri(content: bytes) -> str:
    """A picture as text that an HTML file can hold."""
    return f"data:{picture_type(content)};base64,{base64.b64encode(content).decode()}"
