"""From a device's name to its backend: options, their one spelling, and what is said about wrong ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilers.backends.device_options import split_device_name
from profilers.backends.registry import DEVICE_NAMES, open_backend
from profilers.device import num_usable_cores
from search_space.errors import UsageError


def test_a_misspelt_device_is_corrected() -> None:
    with pytest.raises(UsageError, match="did you mean host-torch") as caught:
        open_backend("host-torhc")
    assert all(name in str(caught.value) for name in DEVICE_NAMES)


def test_an_underscore_stands_for_a_dash() -> None:
    assert open_backend("host_onnxruntime").device == open_backend("host-onnxruntime").device


def test_a_default_given_as_an_option_changes_nothing() -> None:
    bare, explicit = open_backend("host-onnxruntime").device, open_backend("host-onnxruntime:threads=1").device
    assert bare == explicit
    assert explicit.name == "host-onnxruntime"


@pytest.mark.skipif(num_usable_cores() < 2, reason="needs two cores")
def test_an_option_makes_another_device() -> None:
    one, two = open_backend("host-onnxruntime").device, open_backend("host-onnxruntime:threads=2").device
    assert two.name == "host-onnxruntime:threads=2"
    assert two.threads == 2
    assert one.device_id != two.device_id


@pytest.mark.parametrize(
    ("device_name", "said"),
    [
        ("host-onnxruntime:thread=2", "did you mean threads"),
        ("host-onnxruntime:threads=0", "an integer from 1"),
        ("host-onnxruntime:threads=two", "an integer from 1"),
        ("host-onnxruntime:threads=9999", "the cores of this machine"),
        ("host-onnxruntime:threads", "option=value"),
        ("host-onnxruntime:", "option=value"),
        ("host-onnxruntime:threads=1,threads=1", "twice"),
        ("exact:threads=1", "has no option 'threads'"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(device_name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        open_backend(device_name)
    assert len(str(caught.value).splitlines()) <= 3


@given(st.text(max_size=40))
def test_any_other_text_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        open_backend(f"host-onnxruntime:x{text}")


def test_a_name_is_split_at_its_options() -> None:
    assert split_device_name("a:b=1,c=x.y") == ("a", {"b": "1", "c": "x.y"})
    assert split_device_name("a") == ("a", {})
    assert split_device_name("core_ml:layout=split_einsum") == ("core-ml", {"layout": "split_einsum"})
