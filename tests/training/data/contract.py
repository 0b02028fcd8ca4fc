"""What holds for every data set: `CaptionedImagesContract` is inherited by the tests of each."""

from abc import ABC, abstractmethod

import pytest
import torch

from training.data.base import CaptionedImages


class CaptionedImagesContract(ABC):
    """Tests of the interface; a subclass says how to open the data set."""

    @pytest.fixture
    @abstractmethod
    def data(self) -> CaptionedImages:
        """The data set, with 32-pixel images."""

    @pytest.fixture
    @abstractmethod
    def same_data(self) -> CaptionedImages:
        """The same data set, opened once more."""

    @pytest.fixture
    @abstractmethod
    def smaller_data(self) -> CaptionedImages:
        """The same data set with 16-pixel images."""

    def test_batches_have_the_promised_shape_type_and_range(self, data: CaptionedImages) -> None:
        for batch in (data.train_batch(3, 8, seed=0), data.held_out_batch(1, 8)):
            assert batch.images.shape == (8, 3, data.image_size, data.image_size)
            assert batch.images.dtype == torch.float32
            assert batch.images.min() >= -1
            assert batch.images.max() <= 1
            assert batch.images.std() > 0.01
            assert len(batch.captions) == 8
            assert all(batch.captions)

    def test_train_batch_is_a_pure_function_of_its_arguments(
        self, data: CaptionedImages, same_data: CaptionedImages
    ) -> None:
        expected = data.train_batch(5, 8, seed=1)
        torch.manual_seed(99)
        data.train_batch(6, 8, seed=1)
        for again in (data.train_batch(5, 8, seed=1), same_data.train_batch(5, 8, seed=1)):
            assert torch.equal(again.images, expected.images)
            assert again.captions == expected.captions

    def test_step_and_seed_change_the_train_batch(self, data: CaptionedImages) -> None:
        batch = data.train_batch(5, 16, seed=1)
        assert not torch.equal(batch.images, data.train_batch(6, 16, seed=1).images)
        assert not torch.equal(batch.images, data.train_batch(5, 16, seed=2).images)

    def test_nothing_touches_the_global_random_state(self, data: CaptionedImages) -> None:
        before = torch.get_rng_state()
        data.train_batch(0, 4, seed=0)
        data.held_out_batch(0, 4)
        assert torch.equal(torch.get_rng_state(), before)

    def test_held_out_images_do_not_depend_on_the_batch_size(
        self, data: CaptionedImages, same_data: CaptionedImages
    ) -> None:
        whole = data.held_out_batch(0, 12)
        parts = [same_data.held_out_batch(index, 4) for index in range(3)]
        assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
        assert whole.captions == sum((part.captions for part in parts), ())

    def test_held_out_images_are_never_trained_on(self, data: CaptionedImages) -> None:
        held_out = {image.numpy().tobytes() for image in data.held_out_batch(0, 32).images}
        trained = {image.numpy().tobytes() for step in range(8) for image in data.train_batch(step, 64, seed=0).images}
        assert not held_out & trained

    def test_prompts_are_distinct_and_stay_the_same(self, data: CaptionedImages, same_data: CaptionedImages) -> None:
        assert data.prompts()
        assert len(set(data.prompts())) == len(data.prompts())
        assert data.prompts() == same_data.prompts()

    def test_fingerprint_says_what_decides_the_content(
        self, data: CaptionedImages, same_data: CaptionedImages, smaller_data: CaptionedImages
    ) -> None:
        assert len(data.fingerprint) == 12
        assert int(data.fingerprint, 16) >= 0
        assert data.fingerprint == same_data.fingerprint
        assert data.fingerprint != smaller_data.fingerprint
        assert smaller_data.held_out_batch(0, 2).images.shape == (2, 3, 16, 16)
