"""Small things to train, as fixtures."""

import pytest

from tests.training.small import PlainColours, make_model
from training.data.base import CaptionedImages
from training.model import TextToImage


@pytest.fixture
def data() -> CaptionedImages:
    return PlainColours()


@pytest.fixture
def model() -> TextToImage:
    return make_model().eval()
