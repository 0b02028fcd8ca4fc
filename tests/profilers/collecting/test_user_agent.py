import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilers.collecting.user_agent import Browser, reduce_user_agent

WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
BLINK = "AppleWebKit/537.36 (KHTML, like Gecko)"
KNOWN = {
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) {WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1": (
        "iPhone",
        "iOS 17.5",
        "Safari 17",
    ),
    f"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) {WEBKIT} Version/16.6 Mobile/15E148 Safari/604.1": (
        "iPad",
        "iOS 16.6",
        "Safari 16",
    ),
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {WEBKIT} CriOS/130.0.6723.37 Mobile/15E148 Safari/604.1": (
        "iPhone",
        "iOS 18.0",
        "Chrome 130",
    ),
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {BLINK} Chrome/130.0.0.0 Mobile Safari/537.36": (
        "Pixel 8",
        "Android 14",
        "Chrome 130",
    ),
    f"Mozilla/5.0 (Linux; Android 10; K) {BLINK} Chrome/131.0.0.0 Mobile Safari/537.36": (
        "Android phone",
        "Android 10",
        "Chrome 131",
    ),
    f"Mozilla/5.0 (Linux; Android 13; SM-S911B) {BLINK} SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36": (
        "SM-S911B",
        "Android 13",
        "Samsung Internet 26",
    ),
    "Mozilla/5.0 (Android 14; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0": (
        "Android phone",
        "Android 14",
        "Firefox 132",
    ),
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {WEBKIT} Version/26.0 Mobile/15E148 Safari/604.1": (
        "iPhone",
        "iOS 26.0",
        "Safari 26",
    ),
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0": ("PC", "Linux", "Firefox 132"),
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/18.1 Safari/605.1.15": (
        "Mac",
        "macOS",
        "Safari 18",
    ),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {BLINK} Chrome/130.0.0.0 Safari/537.36 Edg/130.0.2849.68": (
        "PC",
        "Windows",
        "Edge 130",
    ),
}


@pytest.mark.parametrize("user_agent", KNOWN)
def test_model_system_and_browser_are_kept(user_agent: str) -> None:
    model, operating_system, browser = KNOWN[user_agent]
    is_hidden = model not in ("Pixel 8", "SM-S911B")
    expected = Browser(model=model, is_model_hidden=is_hidden, operating_system=operating_system, browser=browser)
    assert reduce_user_agent(user_agent) == expected


def test_nothing_else_is_kept() -> None:
    reduced = reduce_user_agent(
        "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UD1A.230803.041; serial=R58M12ABCDE) "
        "AppleWebKit/537.36 Chrome/130.0.6723.58 Mobile Safari/537.36 user/alice imei/490154203237518"
    )
    text = f"{reduced.model} {reduced.operating_system} {reduced.browser}"
    assert text == "Pixel 8 Android 14 Chrome 130"
    for secret in ("UD1A", "R58M12ABCDE", "alice", "490154203237518", "6723"):
        assert secret not in text


@pytest.mark.parametrize("user_agent", ["", "curl/8.0", "<img src=x onerror=alert(1)>"])
def test_the_rest_is_unknown(user_agent: str) -> None:
    reduced = reduce_user_agent(user_agent)
    assert (reduced.model, reduced.browser) == ("unknown", "unknown")


@given(st.text(max_size=80).map(lambda model: f"Mozilla/5.0 (Linux; Android 14; {model}) Chrome/130.0 Safari/1"))
def test_a_model_is_always_plain_text(user_agent: str) -> None:
    reduced = reduce_user_agent(user_agent)
    for value in (reduced.model, reduced.operating_system, reduced.browser):
        assert re.fullmatch(r"[A-Za-z0-9 ._+-]{1,60}", value)


def test_an_ipad_that_calls_itself_a_mac_is_known_by_its_screen() -> None:
    text = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/18.1 Safari/605.1.15"
    mac, ipad = reduce_user_agent(text), reduce_user_agent(text, has_touch=True)
    assert (mac.model, mac.operating_system) == ("Mac", "macOS")
    assert (ipad.model, ipad.operating_system, ipad.browser) == ("iPad", "iOS 18.1", "Safari 18")
