"""Masks: found beside pictures, following them through crop, bucket and flip, saved, loaded, and told in the hash."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import (
    Dataset,
    Sample,
    bucket_mask,
    load_folder,
    save_samples,
    with_alpha_masks,
)
from lora_bootstrap.trainer.datasets.masks import alpha_of, linked_masks
from lora_bootstrap.trainer.training.masked_loss import latent_mask, masked_loss, masked_prior


def _left_half(size=(8, 6)):
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def _picture(path, size=(8, 6), colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    path.with_suffix(".txt").write_text("1girl")
    return path


@pytest.mark.parametrize("name", ["masks/a.png", "a_mask.png", "a-masklabel.png", "masks/a_mask.webp"])
def test_a_mask_is_found_by_its_name_and_is_no_picture_to_train_on(tmp_path, name):
    _picture(tmp_path / "a.png")
    _picture(tmp_path / "b.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    _left_half().save(tmp_path / name, lossless=True)
    dataset = load_folder(tmp_path)
    assert [(s.path.name, s.mask and s.mask.relative_to(tmp_path).as_posix()) for s in dataset] == [
        ("a.png", name), ("b.png", None)]
    assert dataset.notes == ("1 of 2 images have a mask: a.png.",)
    mask = dataset.samples[0].load_mask()
    assert mask.mode == "L" and np.asarray(mask)[0].tolist() == [255] * 4 + [0] * 4
    assert dataset.samples[1].load_mask() is None


def test_masks_without_a_picture_are_named_and_a_folder_of_that_name_may_be_anything(tmp_path):
    _picture(tmp_path / "one" / "a.png")
    _picture(tmp_path / "one" / "masks" / "a.png")
    _picture(tmp_path / "one" / "masks" / "stray.png")
    _picture(tmp_path / "carnival" / "b.png")
    _picture(tmp_path / "carnival" / "masks" / "venice.png")
    dataset = load_folder(tmp_path)
    assert [s.path.name for s in dataset] == ["b.png", "venice.png", "a.png"]
    assert "skipped one/masks/stray.png: it is in masks, but belongs to no image." in dataset.notes


def test_a_picture_that_is_merely_called_a_mask_stays_a_picture():
    assert linked_masks(["gas_mask.png", "x.png", "x_mask.png"]) == {"x.png": "x_mask.png"}
    assert linked_masks(["x.png", "x_mask.png"], ["x.png"]) == {"x.png": "masks/x.png"}


def test_a_masks_name_is_matched_in_any_case_and_unicode_form():
    assert linked_masks(["É.PNG", "e\u0301_Mask.png"]) == {"É.PNG": "e\u0301_Mask.png"}
    assert linked_masks(["x.png", "X.png", "X_MASK.png"]) == {"X.png": "X_MASK.png"}
    assert linked_masks(["a.png"], ["A.PNG"]) == {"a.png": "masks/A.PNG"}


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("1", "png"), ("RGB", "jpg"), ("RGBA", "png"), ("P", "png"),
                                              ("RGB", "webp")])
def test_a_grey_mask_may_be_saved_in_any_mode(tmp_path, mode, suffix):
    _picture(tmp_path / "a.png")
    _left_half().convert(mode).save(tmp_path / f"a_mask.{suffix}")
    (sample,) = load_folder(tmp_path)
    assert sample.mask == tmp_path / f"a_mask.{suffix}"


def test_the_alpha_channel_is_a_mask_if_asked(tmp_path):
    image = Image.new("RGBA", (8, 6), (10, 20, 30, 0))
    image.paste((200, 100, 0, 255), (0, 0, 4, 6))
    image.paste((200, 100, 0, 128), (4, 0, 6, 6))
    image.save(tmp_path / "a.png")
    Image.new("RGBA", (8, 6), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    dataset = load_folder(tmp_path)
    assert [s.mask for s in dataset] == [None, None]
    masked = with_alpha_masks(dataset)
    assert [s.mask and s.mask.name for s in masked] == ["a.png", None]
    row = np.asarray(masked.samples[0].load_mask())[0].tolist()
    assert row[:4] == [255] * 4 and row[6:] == [0, 0] and abs(row[4] - 128) <= 1
    assert alpha_of(tmp_path / "opaque.png").getextrema() == (255, 255)


def test_a_mask_of_another_size_is_scaled_and_one_of_another_shape_refused(tmp_path):
    path = _picture(tmp_path / "a.png")
    _left_half((16, 12)).save(tmp_path / "large.png")
    _left_half((6, 8)).save(tmp_path / "tall.png")
    sample = Sample(path, (8, 6), mask=tmp_path / "large.png")
    assert sample.load_mask().size == (8, 6)
    with pytest.raises(UserError, match="is 6 x 8, but its image is 8 x 6"):
        dataclasses.replace(sample, mask=tmp_path / "tall.png").load_mask()
    with pytest.raises(UserError, match="cannot read .*gone.png"):
        dataclasses.replace(sample, mask=tmp_path / "gone.png").load_mask()


def test_a_mask_follows_its_picture_through_crop_bucket_and_mirror(tmp_path):
    path = _picture(tmp_path / "a.png", (16, 8))
    _left_half((16, 8)).save(tmp_path / "a_mask.png")
    sample = Sample(path, (8, 8), crop=(4, 0, 12, 8), mask=tmp_path / "a_mask.png")
    assert np.asarray(sample.load_mask())[0].tolist() == [255] * 4 + [0] * 4
    mask = bucket_mask(sample, (4, 4))
    assert mask.shape == (1, 4, 4) and mask.dtype == torch.float32
    # Lanczos, as the picture's own resizing, rings a little at the edge.
    assert mask[0, :, 0].min() > 0.95 and mask[0, :, 3].max() < 0.05
    assert torch.equal(bucket_mask(sample, (4, 4), flip=True), mask.flip(-1))
    assert bucket_mask(dataclasses.replace(sample, mask=None), (4, 4)) is None


def test_masks_are_saved_and_come_back_and_an_old_one_does_not_stay(tmp_path):
    image = Image.new("RGB", (8, 6), "red")
    save_samples(tmp_path, [(image, "x", {"name": "a"}), (image, "y", {"name": "b"})], [_left_half(), None])
    dataset = load_folder(tmp_path)
    assert [s.mask and s.mask.name for s in dataset] == ["a.png", None]
    assert np.array_equal(np.asarray(dataset.samples[0].load_mask()), np.asarray(_left_half()))
    save_samples(tmp_path, [(image, "x", {"name": "a"})])
    assert [s.mask for s in load_folder(tmp_path)] == [None, None]


def test_the_fingerprint_tells_masks_apart_and_is_unchanged_without(tmp_path):
    path = _picture(tmp_path / "a.png")
    _left_half().save(tmp_path / "one.png")
    Image.new("L", (8, 6), 255).save(tmp_path / "two.png")
    plain = Sample(path, (8, 6), "x")
    variants = [Dataset((dataclasses.replace(plain, mask=mask),)).fingerprint
                for mask in (None, tmp_path / "one.png", tmp_path / "two.png", path)]
    assert len(set(variants)) == 4
    # As it was before datasets had masks: what was trained then is still known to be the same.
    facts = (plain.content_hash, "x", 1, "a")
    assert variants[0] == hashlib.sha256(repr((facts,)).encode()).hexdigest()
    assert (plain.mask_hash, dataclasses.replace(plain, mask=path).mask_hash) == ("", "alpha")


def test_a_latents_mask_is_the_share_of_its_pixels():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :12] = 1
    assert latent_mask(mask, (2, 2))[0, 0].tolist() == [[1.0, 0.5], [1.0, 0.5]]
    assert latent_mask(mask[0], (2, 2)).shape == (1, 2, 2)
    assert torch.equal(latent_mask(mask, (16, 16)), mask)


def test_a_mask_of_ones_is_the_plain_loss_and_others_weigh_places():
    error = torch.rand(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(2, 1, 6, 6)
    assert torch.allclose(masked_loss(error, ones), error.flatten(1).mean(1))
    half = ones.clone()
    half[..., 3:] = 0
    inside, outside = error[..., :3].flatten(1).mean(1), error[..., 3:].flatten(1).mean(1)
    assert torch.allclose(masked_loss(error, half, 0.0), inside)
    assert torch.allclose(masked_loss(error, half, 0.1), (inside + 0.1 * outside) / 1.1)
    assert torch.allclose(masked_loss(error, half, 0.1, normalize=False), (inside + 0.1 * outside) / 2)
    frames = error[:, :, None].expand(-1, -1, 3, -1, -1)
    assert torch.allclose(masked_loss(frames, half, 0.1), masked_loss(error, half, 0.1))


def test_an_empty_mask_gives_no_loss_but_no_nan():
    assert masked_loss(torch.ones(1, 4, 4, 4), torch.zeros(1, 1, 4, 4), 0.0).tolist() == [0.0]


def test_the_prior_holds_what_lies_outside_and_sends_no_gradient_to_the_base():
    base = torch.zeros(1, 2, 4, 4, requires_grad=True)
    prediction = torch.ones(1, 2, 4, 4, requires_grad=True)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :1] = 1
    loss = masked_prior(prediction, base, mask, 0.5)
    assert loss.tolist() == [0.5 * 0.75]
    loss.sum().backward()
    assert base.grad is None
    assert prediction.grad[..., :1].abs().max() == 0 and prediction.grad[..., 1:].min() > 0
    assert masked_prior(prediction, base, torch.ones_like(mask)).tolist() == [0.0]
    with pytest.raises(ValueError, match="does not fit"):
        masked_prior(prediction, base, torch.ones(1, 1, 2, 2))
