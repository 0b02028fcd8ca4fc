"""Opens a data set by name or folder."""

from pathlib import Path

from search_space.errors import UsageError
from training.data.base import CaptionedImages
from training.data.names import DATA_NAMES


def open_data(name_or_path: str, *, image_size: int = 32) -> CaptionedImages:
    """The data set of that name, or the images of that folder.

    Args:
        name_or_path: One of `DATA_NAMES`, or a folder; a folder called like a data set is reached as "./scenes".
        image_size: Side in pixels that every image is brought to.
    """
    if name_or_path == "scenes":
        from training.data.scenes import Scenes

        return Scenes(image_size=image_size)
    if name_or_path == "digits":
        from training.data.digits import Digits

        return Digits(image_size=image_size)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        from training.data.folder import FolderImages

        return FolderImages(folder, image_size=image_size)
    raise UsageError(
        f"no data set or folder is called {name_or_path!r}",
        allowed=f"{', '.join(DATA_NAMES)}, or a folder of images with captions",
        fix="check the spelling, or the path from the current folder",
    )
