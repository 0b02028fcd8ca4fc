"""Says whether a picture shows the scene its prompt asks for: GenEval's question, answered without a neural network.

GenEval (Ghosh et al. 2023, arXiv:2310.11513) detects objects with Mask2Former and their colours with CLIP. Here the
world is known, so both are geometry:

    colour   every pixel is a mix of the background and one colour of the palette; the colour that explains it best
             wins, and the share of that colour is the pixel's coverage
    object   a connected patch of one colour; specks below one percent of the picture are noise
    shape    the outline that overlaps the patch best when drawn with the same centre and area

Stricter than GenEval in one point: a picture has to show everything its prompt says *and nothing else*, since a scene's
caption is complete.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from training.data.scene import BACKGROUND, PALETTE, SHAPES, SceneObject
from training.data.scene_prompts import SKILLS, ScenePrompt, WantedObject, parse_prompt
from training.data.scene_rendering import UNIT_AREAS, object_coverage

_COLOURS: Final = tuple(PALETTE)
_MIN_COVERAGE: Final = 0.5
"""A pixel belongs to an object from this share on."""
_MIN_AREA_FRACTION: Final = 0.01
"""Smaller patches are noise; the smallest object of a true scene covers 2.8 % of the picture."""
_MIN_OVERLAP: Final = 0.7
"""Least intersection over union of a patch with the best outline; below it the patch has no shape we know."""
_POSITION_MARGIN: Final = 0.1
"""GenEval's: centres must differ by this share of the two objects' added widths (heights) to count as apart."""
_IMAGES_AT_ONCE: Final = 256


@dataclass(frozen=True, kw_only=True)
class DetectedObject:
    """One patch of colour found in a picture; lengths are fractions of the picture's side."""

    shape: str | None
    """One of `SHAPES`, or None where no outline fits."""
    colour: str
    """A key of `PALETTE`."""
    x: float
    """Horizontal centre of mass."""
    y: float
    """Vertical centre of mass, downwards."""
    width: float
    """Width of the bounding box."""
    height: float
    """Height of the bounding box."""
    overlap: float
    """Intersection over union with the best outline, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """The verdict on one picture."""

    prompt: str
    """What it should show."""
    skill: str
    """The skill the prompt tests, one of `SKILLS`."""
    is_correct: bool
    """Whether it shows that and nothing else."""
    reason: str
    """What is wrong; empty where nothing is."""


@dataclass(frozen=True, kw_only=True)
class SceneScores:
    """The verdicts on a set of pictures."""

    images: tuple[ImageScore, ...]
    """One verdict per picture, in order."""

    @property
    def accuracy_by_skill(self) -> dict[str, float]:
        """Share of correct pictures of every skill that was tested, in [0, 1]."""
        verdicts: defaultdict[str, list[bool]] = defaultdict(list)
        for image in self.images:
            verdicts[image.skill].append(image.is_correct)
        return {skill: sum(verdicts[skill]) / len(verdicts[skill]) for skill in SKILLS if skill in verdicts}

    @property
    def overall(self) -> float:
        """Mean over the skills, each counting the same, in [0, 1]; higher is better."""
        return sum(self.accuracy_by_skill.values()) / len(self.accuracy_by_skill)


def score_scenes(images: Tensor, prompts: Sequence[str]) -> SceneScores:
    """Judges every picture by its prompt.

    Args:
        images: `[N, 3, H, W]` in [-1, 1].
        prompts: N captions of the scenes data set.
    """
    verdicts = []
    for prompt, found in zip(map(parse_prompt, prompts), detect_objects(images), strict=True):
        reason = _what_is_wrong(prompt, found)
        verdicts.append(ImageScore(prompt=prompt.text, skill=prompt.skill, is_correct=not reason, reason=reason))
    return SceneScores(images=tuple(verdicts))


@torch.no_grad()
def detect_objects(images: Tensor) -> list[tuple[DetectedObject, ...]]:
    """The objects in every picture, largest first.

    Args:
        images: `[N, 3, H, W]` in [-1, 1].
    """
    images = images.detach().float().cpu()
    starts = range(0, len(images), _IMAGES_AT_ONCE)
    return [found for start in starts for found in _detect_in_chunk(images[start : start + _IMAGES_AT_ONCE])]


def _detect_in_chunk(images: Tensor) -> list[tuple[DetectedObject, ...]]:
    num_images, _, height, width = images.shape
    coverage, colour = _explain_pixels(images)  # [N, 8, H, W] and [N, H, W]
    patch = _connected_patches(colour)  # [N, H, W]
    areas = torch.bincount(patch.flatten())[1:]  # of label 1, 2, ...
    labels = (areas >= _MIN_AREA_FRACTION * height * width).nonzero()[:, 0] + 1  # [M]
    found: list[list[DetectedObject]] = [[] for _ in range(num_images)]
    if len(labels) > 0:
        # A patch's label is one more than the flat index of one of its pixels.
        image_of_patch = (labels - 1) // (height * width)  # [M]
        colour_of_patch = colour.flatten()[labels - 1]  # [M]
        is_inside = patch[image_of_patch] == labels[:, None, None]  # [M, H, W]
        # One pixel of rim holds the soft edge; more would reach into a neighbour.
        reach = functional.max_pool2d(is_inside[:, None].float(), kernel_size=3, stride=1, padding=1)[:, 0]
        soft = coverage[image_of_patch, colour_of_patch] * reach  # [M, H, W]
        # A washed-out object is judged by its shape all the same.
        soft = soft / soft.amax(dim=(1, 2), keepdim=True)
        colours = [_COLOURS[index] for index in colour_of_patch.tolist()]
        for index, described in zip(image_of_patch.tolist(), _describe(soft, is_inside, colours), strict=True):
            found[index].append(described)
    return [tuple(sorted(objects, key=lambda each: -each.width * each.height)) for objects in found]


def _explain_pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """How much of every colour each pixel would hold, and which colour explains it best.

    Returns:
        The coverage by each colour, `[N, 8, H, W]` in [0, 1], and the best colour's index or -1 where the pixel is
        background, `[N, H, W]`.
    """
    background = torch.tensor(BACKGROUND)
    towards = torch.tensor([PALETTE[colour] for colour in _COLOURS]) - background  # [8, 3]
    offset = images.clamp(-1, 1).add(1).div(2) - background.view(1, 3, 1, 1)  # [N, 3, H, W]
    squared = towards.square().sum(dim=1).view(1, -1, 1, 1)  # [1, 8, 1, 1]
    projection = torch.einsum("kc,nchw->nkhw", towards, offset)  # [N, 8, H, W]
    coverage = (projection / squared).clamp(0, 1)  # [N, 8, H, W]
    # |offset - coverage * towards|^2 without its first term, which is the same for every colour.
    residual = coverage.square() * squared - 2 * coverage * projection  # [N, 8, H, W]
    colour = residual.argmin(dim=1)  # [N, H, W]
    best = coverage.gather(1, colour[:, None])[:, 0]  # [N, H, W]
    return coverage, torch.where(best >= _MIN_COVERAGE, colour, -1)


def _connected_patches(colour: Tensor) -> Tensor:
    """Gives pixels of one colour that touch (side by side) one label, 0 for the background: `[N, H, W]`."""
    is_object = colour >= 0
    label = torch.arange(1, colour.numel() + 1).view_as(colour) * is_object  # [N, H, W]
    joins_below = (colour[:, 1:] == colour[:, :-1]) & is_object[:, 1:]
    joins_right = (colour[:, :, 1:] == colour[:, :, :-1]) & is_object[:, :, 1:]
    while True:  # the highest label spreads by one pixel a round
        before = label.clone()
        _spread(label[:, 1:], label[:, :-1], joins_below)
        _spread(label[:, :, 1:], label[:, :, :-1], joins_right)
        if torch.equal(label, before):
            return label


def _spread(one: Tensor, other: Tensor, is_joined: Tensor) -> None:
    """Lets both sides of every join take the higher label, in place."""
    one.copy_(torch.maximum(one, other * is_joined))
    other.copy_(torch.maximum(other, one * is_joined))


def _describe(soft: Tensor, is_inside: Tensor, colours: list[str]) -> list[DetectedObject]:
    """Measures every patch.

    Args:
        soft: `[M, S, S]`, the share of every pixel that the patch covers.
        is_inside: `[M, S, S]`, the pixels that certainly belong to it.
        colours: M colour names.
    """
    size = soft.shape[-1]
    pixel = (torch.arange(size) + 0.5) / size  # [S]
    area = soft.sum(dim=(1, 2))  # [M], in pixels
    x = ((soft.sum(dim=1) * pixel).sum(dim=1) / area).tolist()
    y = ((soft.sum(dim=2) * pixel).sum(dim=1) / area).tolist()
    widths = (is_inside.any(dim=1).sum(dim=1) / size).tolist()
    heights = (is_inside.any(dim=2).sum(dim=1) / size).tolist()
    overlaps = torch.stack(
        [_overlap(soft, shape, x, y, (area / UNIT_AREAS[shape]).sqrt().div(size).tolist()) for shape in SHAPES]
    )  # [4, M]
    best_overlaps, best_shapes = overlaps.max(dim=0)
    return [
        DetectedObject(
            shape=SHAPES[shape] if overlap >= _MIN_OVERLAP else None,
            colour=colours[index],
            x=x[index],
            y=y[index],
            width=widths[index],
            height=heights[index],
            overlap=overlap,
        )
        for index, (shape, overlap) in enumerate(zip(best_shapes.tolist(), best_overlaps.tolist(), strict=True))
    ]


def _overlap(soft: Tensor, shape: str, x: list[float], y: list[float], radii: list[float]) -> Tensor:
    """How well every patch agrees with one outline drawn in its place, sharp or blurred: `[M]`."""
    outlines = [
        SceneObject(shape=shape, colour=_COLOURS[0], x=x[index], y=y[index], radius=radius)
        for index, radius in enumerate(radii)
    ]
    sharp = object_coverage(outlines, soft.shape[-1])  # [M, S, S]
    blurred = functional.avg_pool2d(sharp, kernel_size=3, stride=1, padding=1)
    return torch.maximum(_intersection_over_union(soft, sharp), _intersection_over_union(soft, blurred))


def _intersection_over_union(one: Tensor, other: Tensor) -> Tensor:
    return torch.minimum(one, other).sum(dim=(1, 2)) / torch.maximum(one, other).sum(dim=(1, 2))


def _what_is_wrong(prompt: ScenePrompt, found: tuple[DetectedObject, ...]) -> str:
    """The first thing that does not agree with the prompt, or an empty string."""
    seen = ", ".join(f"{each.colour} {each.shape or 'blob'}" for each in found) or "nothing"
    if len(found) != len(prompt.objects):
        return f"expected {len(prompt.objects)} objects, found {len(found)}: {seen}"
    orders = [order for order in permutations(found) if _all_agree(prompt.objects, order, is_colour_asked=False)]
    if not orders:
        return f"expected the shapes {', '.join(wanted.shape for wanted in prompt.objects)}, found {seen}"
    orders = [order for order in orders if _all_agree(prompt.objects, order, is_colour_asked=True)]
    if not orders:
        expected = ", ".join(f"{wanted.colour or 'any'} {wanted.shape}" for wanted in prompt.objects)
        return f"expected the colours {expected}, found {seen}"
    if prompt.relation is not None and not any(_stands(prompt.relation, *order) for order in orders):
        first, second = orders[0]
        return (
            f"expected the {first.shape} {prompt.relation} the {second.shape}, "
            f"found centres ({first.x:.2f}, {first.y:.2f}) and ({second.x:.2f}, {second.y:.2f})"
        )
    return ""


def _all_agree(wanted: tuple[WantedObject, ...], order: tuple[DetectedObject, ...], *, is_colour_asked: bool) -> bool:
    return all(
        each.shape == found.shape and (not is_colour_asked or each.colour in (None, found.colour))
        for each, found in zip(wanted, order, strict=True)
    )


def _stands(relation: str, first: DetectedObject, second: DetectedObject) -> bool:
    """GenEval's rule: beyond the margin, and at most 60 degrees off the axis."""
    right = _beyond(first.x - second.x, _POSITION_MARGIN * (first.width + second.width))
    down = _beyond(first.y - second.y, _POSITION_MARGIN * (first.height + second.height))
    half_distance = math.hypot(right, down) / 2
    towards = {"left of": -right, "right of": right, "above": -down, "below": down}
    return towards[relation] > half_distance


def _beyond(offset: float, margin: float) -> float:
    """The part of an offset that exceeds the margin, with its sign."""
    return max(abs(offset) - margin, 0.0) * (1 if offset > 0 else -1)
