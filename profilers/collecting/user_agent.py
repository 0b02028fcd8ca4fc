"""What is kept of a browser's User-Agent header: model, system and browser version, each by an allow-list.

The whole header is a fingerprint of a person's device, and text that a stranger wrote. Nothing of it is stored but
what these patterns name; what they do not know becomes "unknown".
"""

import re
from dataclasses import dataclass

UNKNOWN = "unknown"
_MAX_LENGTH = 512

# As the maker wrote it: letters, digits and a little punctuation. Chrome sends "K" where it hides the model.
_ANDROID = re.compile(
    r"\(Linux; Android (\d{1,2})(?:\.\d{1,2}){0,2}"
    r"(?:; ([A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}?))?(?: Build/[^);]{0,60})?[;)]"
)
_APPLE = re.compile(r"\((iPhone|iPad|iPod touch);(?: U;)? CPU (?:iPhone )?OS (\d{1,2})_(\d{1,2})(?:_\d{1,2})? like Mac")
_DESKTOPS = (("Macintosh; ", "Mac", "macOS"), ("Windows NT ", "PC", "Windows"), ("X11; Linux ", "PC", "Linux"))
_BROWSERS = (  # the first that is found counts: most of them also call themselves Chrome and Safari
    ("Edge", re.compile(r" Edg(?:A|iOS)?/(\d{1,4})\.")),
    ("Opera", re.compile(r" OPR/(\d{1,4})\.")),
    ("Samsung Internet", re.compile(r" SamsungBrowser/(\d{1,4})\.")),
    ("Firefox", re.compile(r" (?:Firefox|FxiOS)/(\d{1,4})\.")),
    ("Chrome", re.compile(r" (?:HeadlessChrome|Chrome|CriOS)/(\d{1,4})\.")),
    ("Safari", re.compile(r" Version/(\d{1,4})\.[\d.]{1,8} (?:Mobile/\w{1,10} )?Safari/")),
)


@dataclass(frozen=True, kw_only=True)
class Browser:
    """The kind of phone or computer that measured itself."""

    model: str
    """Pixel 8, iPhone, PC."""
    operating_system: str
    """With its major version where phones tell it: Android 14, iOS 17.5."""
    browser: str
    """With its major version: Chrome 130."""


def reduce_user_agent(user_agent: str) -> Browser:
    """Keeps of the header what these patterns name, and nothing else."""
    text = user_agent[:_MAX_LENGTH]
    model, operating_system = _model_and_system(text)
    for name, pattern in _BROWSERS:
        if match := pattern.search(text):
            return Browser(model=model, operating_system=operating_system, browser=f"{name} {match[1]}")
    return Browser(model=model, operating_system=operating_system, browser=UNKNOWN)


def _model_and_system(text: str) -> tuple[str, str]:
    if match := _ANDROID.search(text):
        is_hidden = match[2] in (None, "K")
        return "Android phone" if is_hidden else match[2], f"Android {match[1]}"
    if match := _APPLE.search(text):
        return match[1], f"iOS {match[2]}.{match[3]}"
    for mark, model, operating_system in _DESKTOPS:
        if f"({mark}" in text:
            return model, operating_system
    return UNKNOWN, UNKNOWN
