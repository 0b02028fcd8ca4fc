"""A scene: which coloured shapes stand where. It is what a picture shows, known exactly.

Coordinates are fractions of the image's side, x to the right and y down, so a scene has no resolution.
"""

from dataclasses import dataclass
from typing import Final

SHAPES: Final[tuple[str, ...]] = ("circle", "square", "triangle", "cross")

# Colours of GenEval, chosen so that no two lie in one direction from the background: a blurred edge, which is a mix
# with the background, keeps the hue that says which colour it is an edge of.
PALETTE: Final[dict[str, tuple[float, float, float]]] = {
    "red": (0.86, 0.08, 0.10),
    "orange": (1.00, 0.50, 0.00),
    "yellow": (0.98, 0.86, 0.05),
    "green": (0.10, 0.62, 0.20),
    "blue": (0.10, 0.28, 0.92),
    "purple": (0.50, 0.10, 0.65),
    "pink": (1.00, 0.40, 0.75),
    "black": (0.05, 0.05, 0.05),
}
"""RGB in [0, 1] of every colour an object can have."""

BACKGROUND: Final[tuple[float, float, float]] = (0.94, 0.94, 0.94)
"""RGB in [0, 1] behind every object."""


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One coloured shape."""

    shape: str
    """One of `SHAPES`."""
    colour: str
    """A key of `PALETTE`."""
    x: float
    """Horizontal centre, 0 at the left edge and 1 at the right."""
    y: float
    """Vertical centre, 0 at the top edge and 1 at the bottom."""
    radius: float
    """About the distance from the centre to the outermost point."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What one picture shows."""

    objects: tuple[SceneObject, ...]
    """One to four objects that do not touch."""
