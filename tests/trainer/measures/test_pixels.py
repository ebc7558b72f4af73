"""Figures of pictures say what they claim on pictures made to show it."""

import numpy as np
import pytest
import torch

from lora_bootstrap.trainer.measures import pixels as metrics
from lora_bootstrap.trainer.pictures.duplicates import RADIUS, bits_apart


@pytest.fixture
def noise():
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def blurred(pixels, times=4):
    return metrics.resize_pixels(metrics.resize_pixels(pixels, pixels.shape[-1] // times), pixels.shape[-1])


def test_a_blurred_picture_is_less_sharp_and_has_less_high_frequency(noise):
    assert (metrics.sharpness(blurred(noise)) < 0.2 * metrics.sharpness(noise)).all()
    assert (metrics.high_frequency(blurred(noise)) < 0.1 * metrics.high_frequency(noise)).all()


def test_sharpness_of_one_drawing_is_the_same_at_256_and_512_pixels():
    board = ((torch.arange(512)[:, None] // 64 + torch.arange(512)[None] // 64) % 2).float().expand(1, 3, -1, -1)
    large, small = metrics.sharpness(board), metrics.sharpness(metrics.resize_pixels(board, 256))
    assert (small / large).item() == pytest.approx(1, abs=1e-4)


def test_white_noise_has_three_quarters_of_its_power_above_half_nyquist(noise):
    assert metrics.high_frequency(noise).mean().item() == pytest.approx(0.75, abs=0.03)


def test_clipping_counts_values_at_both_ends_of_the_range():
    pixels = torch.full((1, 3, 4, 4), 0.5)
    pixels[..., 0] = 0.0
    pixels[..., 1] = 1.0
    assert metrics.clipped_share(pixels).item() == 0.5


def test_grey_has_no_chroma_and_pure_red_has_the_lab_value():
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1
    assert metrics.chroma(torch.full((1, 3, 8, 8), 0.4)).item() == pytest.approx(0, abs=0.1)
    assert metrics.chroma(red).item() == pytest.approx(104.55, abs=0.5)


def test_fingerprints_survive_brightness_and_size_but_not_another_picture(noise):
    smooth = blurred(noise, 8)
    whole = [[own.hashes[0] for own in metrics.fingerprints(pixels)] for pixels in (
        smooth, metrics.resize_pixels(smooth, 100) * 0.9 + 0.05)]
    apart = np.array([[bits_apart(a, b) for b in whole[1]] for a in whole[0]])
    assert apart.diagonal().max() <= 2 and (apart + 64 * np.eye(len(apart), dtype=int)).min() > RADIUS


def test_robust_z_ignores_an_outlier_in_the_reference():
    reference = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert metrics.robust_z(torch.tensor([3.0, 4.4826]), reference).tolist() == pytest.approx([0.0, 1.0])


def test_an_oversaturated_set_has_a_burn_z_above_three(noise):
    base = 0.3 + 0.4 * blurred(noise.repeat(4, 1, 1, 1) * torch.linspace(0.6, 1, 16).view(-1, 1, 1, 1))
    burnt = ((base - 0.5) * 6 + 0.5).clamp(0, 1)
    assert metrics.burn_z(burnt, base).median() > 3
    assert metrics.burn_level(burnt, base) > 3
    assert metrics.burn_level(base, base) == pytest.approx(0)


def test_drift_is_zero_for_the_anchors_and_one_for_an_orthogonal_mean():
    anchors = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert metrics.cosine_drift(anchors, anchors) == pytest.approx(0)
    assert metrics.cosine_drift(torch.tensor([[0.0, 1.0]]), anchors) == pytest.approx(1)


def test_diversity_is_the_mean_pairwise_distance():
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert metrics.diversity(rows) == pytest.approx(10 / 3)
    assert metrics.diversity(rows[:1]) == 0


def test_a_copied_picture_scores_one_and_another_far_less(noise):
    assert metrics.copied(noise[:1], noise).item() == pytest.approx(1)
    assert metrics.copied(noise[:1], noise[1:]).item() < 0.5


def colours(*names):
    from PIL import ImageColor

    stripes = torch.tensor([ImageColor.getrgb(name) for name in names]).float() / 255
    return stripes.T[None, :, None, :].repeat_interleave(64 // len(names), -1).expand(1, 3, 64, -1)


def test_hue_shares_count_only_clear_colours():
    shares = metrics.hue_shares(colours("red", "white", "grey", "black"))
    assert shares.max().item() == 0.25 and shares.sum().item() == 0.25


def test_a_colour_no_tag_told_is_found_and_looked_for():
    original = colours("red", "red", "cyan", "white")
    base = torch.cat([colours("red", "red", "red", "white"), colours("red", "red", "blue", "white")])
    weights = metrics.trait_weights(original, base)
    assert (weights > 0).sum() == 1 and weights.max() == 1
    seen = metrics.trait_share(torch.cat([original, base]), original, base)
    assert seen.tolist() == [1, 0, 0]
    assert metrics.trait_share(base, base, base) is None
