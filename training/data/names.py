"""The data sets that need no file, by name: what a command line may offer without importing torch."""

from typing import Final

DATA_NAMES: Final[tuple[str, ...]] = ("scenes", "digits")
