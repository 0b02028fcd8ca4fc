"""What is kept of a browser's User-Agent header: model, system and browser version, each by an allow-list.

The whole header is a fingerprint of a person's device, and text that a stranger wrote. Nothing of it is stored but
what these patterns name; what they do not know becomes "unknown".
"""

import re
from dataclasses import dataclass

UNKNOWN = "unknown"
_MAX_LENGTH = 512

# As the maker wrote it: letters, digits and a little punctuation.
_ANDROID = re.compile(
    r"\((?:Linux; )?Android (\d{1,2})(?:\.\d{1,2}){0,2}"
    r"(?:; ([A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}?))?(?: Build/[^);]{0,60})?[;)]"
)
_HIDDEN = (None, "K", "Mobile", "Tablet")  # Chrome sends "K" in a model's place, Firefox the other two
_APPLE = re.compile(r"\((iPhone|iPad|iPod touch);(?: U;)? CPU (?:iPhone )?OS (\d{1,2})_(\d{1,2})(?:_\d{1,2})? like Mac")
_SAFARI = re.compile(r" Version/(\d{1,4})\.(\d{1,3})[\d.]{0,8} (?:Mobile/\w{1,10} )?Safari/")
_MAC = "(Macintosh; "
_DESKTOPS = ((_MAC, "Mac", "macOS"), ("(Windows NT ", "PC", "Windows"), ("(X11; Linux ", "PC", "Linux"))
_BROWSERS = (  # the first that is found counts: most of them also call themselves Chrome and Safari
    ("Edge", re.compile(r" Edg(?:A|iOS)?/(\d{1,4})\.")),
    ("Opera", re.compile(r" OPR/(\d{1,4})\.")),
    ("Samsung Internet", re.compile(r" SamsungBrowser/(\d{1,4})\.")),
    ("Firefox", re.compile(r" (?:Firefox|FxiOS)/(\d{1,4})\.")),
    ("Chrome", re.compile(r" (?:HeadlessChrome|Chrome|CriOS)/(\d{1,4})\.")),
    ("Safari", _SAFARI),
)


@dataclass(frozen=True, kw_only=True)
class Browser:
    """The kind of phone or computer that measured itself."""

    model: str
    """Pixel 8, iPhone, PC."""
    is_model_hidden: bool
    """Whether many models go by that name: no iPhone says which one it is, and many Android phones do not."""
    operating_system: str
    """With its major version where phones tell it: Android 14, iOS 17.5."""
    browser: str
    """With its major version: Chrome 130."""


def reduce_user_agent(user_agent: str, *, has_touch: bool = False) -> Browser:
    """Keeps of the header what these patterns name, and nothing else.

    Args:
        user_agent: The header.
        has_touch: Whether the screen feels several fingers, by which alone an iPad differs from the Mac it says it is.
    """
    text = user_agent[:_MAX_LENGTH]
    found = (f"{name} {match[1]}" for name, pattern in _BROWSERS if (match := pattern.search(text)))
    browser = next(found, UNKNOWN)
    if (match := _ANDROID.search(text)) and match[2] not in _HIDDEN:
        return Browser(model=match[2], is_model_hidden=False, operating_system=f"Android {match[1]}", browser=browser)
    model, operating_system = _kind_and_system(text, has_touch=has_touch)
    return Browser(model=model, is_model_hidden=True, operating_system=operating_system, browser=browser)


def _kind_and_system(text: str, *, has_touch: bool) -> tuple[str, str]:
    if match := _ANDROID.search(text):
        return "Android phone", f"Android {match[1]}"
    if match := _APPLE.search(text):
        kind, *version = match.groups()
        if safari := _SAFARI.search(text):  # whose version is the system's; from iOS 26 on the system's own stays at 18
            version = list(safari.groups())
        return kind, f"iOS {'.'.join(version)}"
    if has_touch and _MAC in text:
        safari = _SAFARI.search(text)
        return "iPad", f"iOS {'.'.join(safari.groups())}" if safari else "iOS"
    for mark, kind, operating_system in _DESKTOPS:
        if mark in text:
            return kind, operating_system
    return UNKNOWN, UNKNOWN
