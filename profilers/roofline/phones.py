"""The phones and tablets that have no backend of their own: their names, and which chip is in them."""

from dataclasses import dataclass
from typing import Literal

ChipName = Literal["A14", "A15", "A16", "A17", "A18", "M1", "M2"]


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip and its place in the family; the formula gives each one speed."""

    name: ChipName
    """Apple's name, short."""
    generation: int
    """Years after the A14; M1 has the cores of the A14, M2 those of the A15."""
    is_for_tablets: bool
    """Whether it has the memory and the cooling of a tablet."""


REFERENCE_CHIP: ChipName = "A18"

CHIPS: dict[ChipName, Chip] = {
    chip.name: chip
    for chip in (
        Chip(name="A14", generation=0, is_for_tablets=False),
        Chip(name="A15", generation=1, is_for_tablets=False),
        Chip(name="A16", generation=2, is_for_tablets=False),
        Chip(name="A17", generation=3, is_for_tablets=False),
        Chip(name="A18", generation=4, is_for_tablets=False),
        Chip(name="M1", generation=0, is_for_tablets=True),
        Chip(name="M2", generation=1, is_for_tablets=True),
    )
}
"""Name -> chip."""


@dataclass(frozen=True, kw_only=True)
class Phone:
    """A phone or a tablet."""

    name: str
    """The device's name in SnapNAS."""
    title: str
    """Apple's name."""
    operating_system: str
    """iOS or iPadOS."""
    chip: ChipName
    """What computes."""


PHONES: dict[str, Phone] = {
    phone.name: phone
    for phone in (
        Phone(name="iphone-12-pro-max", title="iPhone 12 Pro Max", operating_system="iOS", chip="A14"),
        Phone(name="iphone-13-pro-max", title="iPhone 13 Pro Max", operating_system="iOS", chip="A15"),
        Phone(name="iphone-14", title="iPhone 14", operating_system="iOS", chip="A15"),
        Phone(name="iphone-14-pro-max", title="iPhone 14 Pro Max", operating_system="iOS", chip="A16"),
        Phone(name="ipad-pro-m1", title="iPad Pro (M1)", operating_system="iPadOS", chip="M1"),
        Phone(name="ipad-pro-m2", title="iPad Pro (M2)", operating_system="iPadOS", chip="M2"),
        Phone(name="iphone-15-pro", title="iPhone 15 Pro", operating_system="iOS", chip="A17"),
        Phone(name="iphone-16-pro-max", title="iPhone 16 Pro Max", operating_system="iOS", chip="A18"),
    )
}
"""Device name -> phone."""
