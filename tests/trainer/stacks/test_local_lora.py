"""A LoRA that counts only where it changes an image most."""

import pytest
import torch

from lora_bootstrap.trainer.stacks.local_lora import Local, counted_locally, local_lora

from ...helpers.backbone_contract import SHORT, a_lora

LOCAL = Local(strength=1.0, weight=2.0, share=0.05, start=0.5)
SIZE = {"seeds": [5], "width": 64, "height": 64, "steps": 2}


@pytest.fixture
def predictions():
    """(without the LoRA, with it), guided: it changes the lower right corner most, with the prompt as [1], and all
    else a little."""
    plain = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = plain + 0.01
    changed[0, :, 12:, 12:] += 5.0  # without the prompt it changes more
    changed[1, :, 12:, 12:] += 1.0
    return plain, changed


def test_what_it_changes_most_counts_by_its_weight_and_all_else_stays(predictions):
    plain, changed = predictions
    counted = counted_locally(plain, changed, LOCAL, guidance=3.0)[0][1] - plain[1]
    assert counted[:, 14:, 14:] == pytest.approx(torch.full((4, 2, 2), 2.0), abs=0.1)
    assert counted[:, :10, :10].abs().max() < 1e-3


def test_guidance_does_not_multiply_what_it_changes(predictions):
    plain, changed = predictions
    without, with_prompt = counted_locally(plain, changed, LOCAL, guidance=3.0)[0] - plain
    torch.testing.assert_close(without, with_prompt)


def test_without_guidance_every_row_has_its_own_change(predictions):
    plain, changed = predictions
    first, second = (counted_locally(plain, changed, LOCAL, guidance=1.0)[0] - plain)[:, :, 15, 15].mean(1)
    assert first > 4 * second > 0


def test_a_lora_that_changes_nothing_leaves_the_prediction_as_it_is(predictions):
    plain, _ = predictions
    assert torch.equal(counted_locally(plain, plain.clone(), LOCAL, guidance=3.0)[0], plain)


def test_a_prediction_in_half_precision_stays_one(predictions):
    plain, changed = (each.half() for each in predictions)
    counted, _ = counted_locally(plain, changed, LOCAL, guidance=3.0)
    assert counted.dtype == torch.float16 and counted.isfinite().all()


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_picture_changes_from_its_start_on_and_the_model_is_as_before_at_the_end(tiny_backbone, tmp_path, cfg):
    def drawn(start=None, strength=1.0):
        if start is None:
            return tiny_backbone.generate([SHORT], cfg=cfg, **SIZE)
        with local_lora(tiny_backbone, path, Local(strength, 2.0, 0.1, start), cfg) as change:
            picture = tiny_backbone.generate([SHORT], cfg=cfg, at_step=change.at_step, **SIZE)
        places = change.places(64, 64)
        assert places.shape == (1, 1, 64, 64) and 0 <= places.min() and places.max() <= 1
        return picture

    path = a_lora(tiny_backbone, tmp_path / "random.safetensors")
    plain = drawn()
    early, late = drawn(0.0), drawn(0.5)
    assert min((early - plain).abs().max(), (late - plain).abs().max(), (early - late).abs().max()) > 1e-3
    torch.testing.assert_close(drawn(0.0, strength=0.0), plain, atol=1e-4, rtol=1e-3)
    assert torch.equal(drawn(), plain)
