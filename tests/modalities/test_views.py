"""Views: functions of item and generator alone, the item itself at strength zero, never empty."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from setclip.modalities.views import ImageViews, image_view, text_view

NONE = ImageViews(crop=0, flip=0, upend=0, jitter=0, hue=0, grey=0, blur=0)
SEEDS = st.integers(0, 2**32 - 1)


def picture(size: int = 24, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).integers(0, 256, (3, size, size), dtype=np.uint8)
    return torch.from_numpy(values)


def view(image: torch.Tensor, seed: int = 0, **options: float) -> torch.Tensor:
    return image_view(image, np.random.default_rng(seed), NONE.model_copy(update=options))


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(2, 40))
def test_a_view_is_a_picture_of_the_same_form_and_depends_on_the_generator_alone(seed, size):
    image = picture(size)
    before, state = image.clone(), torch.get_rng_state()
    torch.manual_seed(seed)
    one = image_view(image, np.random.default_rng(seed))
    torch.manual_seed(seed + 1)
    two = image_view(image, np.random.default_rng(seed))
    torch.set_rng_state(state)
    assert one.dtype == torch.uint8
    assert one.shape == image.shape
    assert torch.equal(one, two)
    assert torch.equal(image, before)


def test_views_of_one_generator_differ():
    image, rng = picture(), np.random.default_rng(0)
    views = {image_view(image, rng).numpy().tobytes() for _ in range(8)}
    assert len(views) == 8


def test_no_global_generator_is_touched():
    state = torch.get_rng_state()
    image_view(picture(), np.random.default_rng(0), ImageViews(blur=1, grey=1))
    assert torch.equal(torch.get_rng_state(), state)


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_strength_zero_is_the_image(seed):
    image = picture()
    assert torch.equal(image_view(image, np.random.default_rng(seed), NONE), image)


def test_flips():
    image = picture()
    assert torch.equal(view(image, flip=1), image.flip(2))
    assert torch.equal(view(image, upend=1), image.flip(1))


def test_grey_has_one_value_in_all_channels():
    grey = view(picture(), grey=1)
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[1], grey[2])


def test_blur_smooths_and_keeps_the_mean():
    image = picture(128).double()
    blurred = [view(picture(128), seed, blur=1).double() for seed in range(8)]
    assert all(abs(found.mean() - image.mean()) < 2 for found in blurred)
    assert all(found.std() <= image.std() + 0.01 for found in blurred)
    assert min(found.std() for found in blurred) < 0.6 * image.std()


def test_one_colour_survives_crop_and_blur():
    image = torch.full((3, 32, 32), 77, dtype=torch.uint8)
    for seed in range(10):
        assert torch.equal(view(image, seed, crop=0.9, blur=1), image)


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.floats(0.01, 0.99))
def test_a_crop_cuts_no_more_than_allowed(seed, crop):
    # On a ramp from left to right the span of values is the share of the width that is left.
    ramp = torch.linspace(0, 255, 64).to(torch.uint8).expand(3, 64, 64).contiguous()
    across = view(ramp, seed, crop=crop)[0, 0].double()
    down = view(ramp.transpose(1, 2).contiguous(), seed, crop=crop)[0, :, 0].double()
    width, height = (float(values.max() - values.min()) / 255 for values in (across, down))
    assert width * height >= (1 - crop) - 0.12
    assert max(width, height) <= 1


def test_jitter_stays_within_its_strength():
    image = torch.full((3, 4, 4), 100, dtype=torch.uint8)  # grey: only brightness can change it
    values = [int(view(image, seed, jitter=0.3)[0, 0, 0]) for seed in range(40)]
    assert 69 <= min(values) < 80
    assert 120 < max(values) <= 130


def test_hue_changes_colours_but_not_grey():
    red = torch.tensor([200, 20, 20], dtype=torch.uint8)[:, None, None].expand(3, 4, 4).contiguous()
    assert not torch.equal(view(red, hue=0.3), red)
    grey = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    assert torch.equal(view(grey, hue=0.3), grey)


@pytest.mark.parametrize(
    "options", [{"crop": 1}, {"flip": 1.5}, {"hue": 0.6}, {"jitter": -1}, {"blurr": 0.1}]
)
def test_impossible_strengths_are_refused(options):
    with pytest.raises(ValidationError):
        ImageViews(**options)


def test_a_missing_torchvision_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", None)
    with pytest.raises(ImportError, match=r"setclip\[train\]"):
        image_view(picture(), np.random.default_rng(0), NONE)


WORDS = st.lists(st.text("abcåß", min_size=1, max_size=4), min_size=1, max_size=12)


@settings(deadline=None)
@given(WORDS, SEEDS, st.floats(0, 1))
def test_a_text_view_is_some_of_the_words_in_their_order(words, seed, drop):
    text = " ".join(words)
    found = text_view(text, np.random.default_rng(seed), drop=drop)
    assert found == text_view(text, np.random.default_rng(seed), drop=drop)
    left = iter(words)
    assert all(word in left for word in found.split())
    assert found.split()


@given(st.text(), SEEDS)
def test_nothing_is_dropped_at_strength_zero(text, seed):
    assert text_view(text, np.random.default_rng(seed), drop=0) == text


def test_at_full_strength_one_word_is_left_and_each_may_be_it():
    rng = np.random.default_rng(0)
    found = {text_view("one two three", rng, drop=1) for _ in range(40)}
    assert found == {"one", "two", "three"}


def test_words_go_at_the_rate_asked_for():
    rng = np.random.default_rng(0)
    kept = len(text_view(" ".join(["word"] * 10_000), rng, drop=0.3).split())
    assert abs(kept / 10_000 - 0.7) < 0.02
