"""What a training will take is counted on the host's own networks, and is what real tensors take."""

from collections import namedtuple

import comfy.model_management as management
import pytest
import torch
from tiny_models import CAPTIONS, FAMILIES, make_backbone, make_dataset

from lora_bootstrap.host.backbone import memory_plan
from lora_bootstrap.host.backbone.memory_plan import count_training, forecast_memory
from lora_bootstrap.trainer.memory.counter import StorageCounter, TookTooLong
from lora_bootstrap.trainer.memory.plan import CONTEXT, GIB
from lora_bootstrap.trainer.memory.step import StepCount
from lora_bootstrap.trainer.models.backbone import Controls
from lora_bootstrap.trainer.models.blocks_in_ram import BlocksInRam
from lora_bootstrap.trainer.models.recompute import Recomputation
from lora_bootstrap.trainer.training import loop
from lora_bootstrap.trainer.training.config import TrainConfig

OLD = not hasattr(management, "in_training")
COUNTED = tuple(name for name in FAMILIES if not OLD)
LONGEST = max(CAPTIONS, key=len)


def a_config(**settings):
    return TrainConfig(name="memory", steps=2).replace(**{
        "adapter.rank": 4, "data.resolution": 64, "optimizer.max_grad_norm": 0.0, **settings})


def counted(name, **settings):
    backbone = make_backbone(name)
    with backbone.training(settings.get("gradient_checkpointing", False)):
        return count_training(backbone, a_config(**settings), LONGEST, seconds=60)


def measured(name, tmp_path, monkeypatch, **settings):
    """Bytes that the real loop's second step holds at its worst moment, beside what was there before it."""
    backbone, peaks = make_backbone(name), []
    backbone.model.model_options["transformer_options"]["optimized_attention_override"] = memory_plan.pytorch_attention
    step = loop._Session._train_step

    def watched(session):
        with StorageCounter() as counter:
            for tensor in [*backbone.network.parameters(), *backbone.network.buffers()]:
                counter.hold(tensor)
            before = counter.now
            done = step(session)
        peaks.append(counter.peak - before)
        return done

    monkeypatch.setattr(loop._Session, "_train_step", watched)
    data = make_dataset(tmp_path / "data", [LONGEST])
    list(loop.train(backbone, data, a_config(**settings), tmp_path / "runs"))
    return peaks[1]


@pytest.mark.parametrize("name", COUNTED)
def test_a_step_of_every_family_is_counted_without_changing_the_model(name):
    backbone = make_backbone(name)
    before = {key: value.clone() for key, value in backbone.model.model.state_dict().items()}
    torch.manual_seed(7)
    drawn = torch.get_rng_state()
    with backbone.training(False):
        count = count_training(backbone, a_config(), LONGEST, seconds=60)
    network = backbone.model.model.diffusion_model
    assert count.weights == pytest.approx(sum(p.numel() * p.element_size() for p in network.parameters()), rel=0.01)
    assert count.peak > count.weights + count.adapter + count.state and count.modules > 0
    assert torch.equal(torch.get_rng_state(), drawn)
    after = backbone.model.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.skipif(OLD, reason="no backward here")
@pytest.mark.parametrize(("name", "settings"), [
    ("sdxl", {}), ("sd3", {"gradient_checkpointing": True}), ("flux", {}), ("z_image", {}), ("qwen_image", {})])
def test_the_count_is_what_the_real_step_takes(name, settings, tmp_path, monkeypatch):
    real = measured(name, tmp_path, monkeypatch, **settings)
    count = counted(name, **settings).activations
    text = sum(tensor.nbytes for tensor in make_backbone(name).encode_text([LONGEST]).tensors.values())
    assert 0.94 * count <= real <= 1.08 * count + 2 * text  # the loop copies the text of a batch from its cache


@pytest.mark.parametrize("name", ["sd3"])
def test_checkpointing_lowers_the_count_and_a_batch_raises_it(name):
    plain, recomputed = counted(name), counted(name, gradient_checkpointing=True)
    assert recomputed.activations < plain.activations and recomputed.weights == plain.weights
    two, three = (counted(name, **{"data.batch_size": size}).activations for size in (2, 3))
    assert three - two == pytest.approx(two - plain.activations, rel=0.05)


def test_weights_of_eight_bits_count_as_such_and_are_cast_one_by_one():
    backbone = make_backbone("sd3", dtype=torch.float8_e4m3fn, cast=torch.float32)
    with backbone.training(False):
        small = count_training(backbone, a_config(), LONGEST, seconds=60)
    whole = counted("sd3")
    assert small.weights == pytest.approx(whole.weights / 4, rel=0.01)
    assert whole.activations < small.activations < whole.activations + 4 * small.widest


# -- the line in the node ----------------------------------------------------------------------------------------------


@pytest.fixture
def on_a_card(monkeypatch):
    """A backbone that says it is on a card of so many GiB, whose count is given."""
    def make(card, peaks):
        backbone = make_backbone("sd15")
        monkeypatch.setattr(backbone, "device", torch.device("cuda"))
        monkeypatch.setattr(management, "get_total_memory", lambda device: card * GIB)
        backbone._recomputation = Recomputation(backbone.network)
        monkeypatch.setattr(memory_plan, "count_training", lambda backbone, config, caption, seconds, controls, share:
                            Count(peak=int(peaks(share) * GIB), weights=2 * GIB))
        return backbone

    Count = namedtuple("Count", "peak weights")
    return make


def peaks(share):
    return 12.3 - 6.3 * share


LESS = "which is slower; a lower resolution, a smaller batch or an fp8 model takes less"


@pytest.mark.parametrize(("card", "settings", "words", "share", "needed"), [
    (14, {}, "this card has 14: fits", 0.0, 12.44),
    (10, {}, "this card has 10: fits, as 55% of the blocks are computed again in the backward pass (about 9.0 GiB), "
             "which is slower", 0.55, 8.975),
    (6, {}, "does not fit, although all blocks are computed again in the backward pass (about 6.1 GiB). ComfyUI keeps "
            f"a part of the weights in RAM, {LESS}", 1.0, 6.14),
    (10, {"fit_memory": False}, "does not fit. Turn on fit_memory or gradient_checkpointing in Train Settings", 0.0,
     12.44)])
def test_the_line_says_whether_the_card_has_it_and_what_is_recomputed_for_it(card, settings, words, share, needed,
                                                                             on_a_card):
    found = forecast_memory(on_a_card(card, peaks), a_config(**settings), LONGEST)
    assert found.line.startswith("about 12.4 GiB at the peak of a step; ") and found.line.endswith(words)
    assert found.note == "" and CONTEXT > 0
    assert found.share == pytest.approx(share) and found.memory / GIB == pytest.approx(needed - 2, abs=0.01)


def test_a_fine_tune_for_which_recomputing_is_not_enough_holds_blocks_in_ram(on_a_card, monkeypatch):
    found = {}
    for card in (14, 6, 2):
        backbone = on_a_card(card, peaks)
        backbone._blocks = BlocksInRam(backbone.network, torch.device("cpu"))
        monkeypatch.setattr(memory_plan, "count_training", lambda *given: StepCount(
            weights=0, adapter=5 * GIB, state=0, peak=int(peaks(given[-1]) * GIB), modules=0, parameters=5 * GIB // 2,
            operations=0, traffic=0, kernels=0, movable=5 * GIB))
        found[card] = forecast_memory(backbone, a_config(**{"method": "full", "optimizer.name": "adafactor"}), LONGEST)
    assert (found[14].offload, found[14].refusal) == (0.0, "")
    assert 0 < found[6].offload < 1 and found[6].share == 1 and found[6].refusal == ""
    assert "in the backward pass and" in found[6].line and "of the blocks are held in RAM" in found[6].line
    assert found[2].offload == 0 and "all blocks are held in RAM, and this card has no room" in found[2].refusal


def test_what_other_programs_use_of_a_card_is_not_counted_on(on_a_card, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(memory_plan, "free_memory", lambda device: 9 * GIB)
    found = forecast_memory(on_a_card(16, peaks), a_config(), LONGEST)
    assert "this card has 16, of which 9.0 are free: fits, as 65% of the blocks" in found.line


def test_a_step_leaves_as_much_memory_as_was_counted(monkeypatch):
    backbone = make_backbone("sd15")
    with backbone.training():
        backbone.step_memory = 5 * GIB
        with torch.no_grad():
            text = backbone.encode_text([LONGEST])
        assert backbone._memory(torch.zeros(1, 4, 8, 8), text) == 5 * GIB
    assert backbone.step_memory == 0


def test_a_count_stands_where_that_with_checkpointing_takes_too_long(on_a_card, monkeypatch):
    backbone = on_a_card(8, peaks)
    count = memory_plan.count_training

    def late(*given):
        if given[-1] == 1:
            raise TookTooLong
        return count(*given)

    monkeypatch.setattr(memory_plan, "count_training", late)
    found = forecast_memory(backbone, a_config(), LONGEST)
    assert found.line.startswith("about 12.4 GiB at the peak") and found.note == ""
    assert found.line.endswith("this card has 8: does not fit as it is, so all blocks are computed again in the "
                               "backward pass, which is slower. What a step takes then was not counted")
    assert found.share == 1 and found.memory == 0, "the host guesses, rather than leave room for all activations"


def test_a_text_encoder_that_is_trained_too_is_not_in_the_count_by_which_blocks_are_chosen(on_a_card):
    config = a_config(**{"adapter.text_encoder": True})
    whole = "about 12.4 GiB at the peak of a step, without the text encoder, which is trained too; this card has "
    found = forecast_memory(on_a_card(24, peaks), config, LONGEST)
    assert (found.line, found.share, found.memory) == (f"{whole}24: without it, this fits", 0.0, 0)
    found = forecast_memory(on_a_card(10, peaks), config, LONGEST)
    assert found.line.startswith(f"{whole}10: without it, this fits, as 55% of the blocks")
    assert found.share == pytest.approx(0.55) and found.memory == 0


def test_what_counting_has_loaded_is_unloaded_before_the_card_is_asked(on_a_card, monkeypatch):
    backbone, asked = on_a_card(14, peaks), []
    monkeypatch.setattr(backbone, "unload", lambda: asked.append("unloaded"))
    total = management.get_total_memory
    monkeypatch.setattr(management, "get_total_memory", lambda device: asked.append("asked") or total(device))
    forecast_memory(backbone, a_config(), LONGEST)
    assert asked[:2] == ["unloaded", "asked"]


@pytest.mark.skipif("flux" not in COUNTED, reason="no such model here")
def test_control_images_are_counted():
    backbone = make_backbone("flux")
    controls = Controls("kontext", [[torch.rand(3, 96, 96)]])
    with backbone.training(False):
        without, with_them = (count_training(backbone, a_config(), LONGEST, 60, given)
                              for given in (None, controls))
    assert with_them.activations > 1.5 * without.activations and with_them.weights == without.weights


@pytest.mark.skipif("flux" not in COUNTED, reason="no such model here")
def test_a_side_between_two_buckets_is_counted_as_the_lower():
    between, lower = (counted("flux", **{"data.resolution": side}) for side in (120, 112))
    assert between == lower


def test_the_line_says_nothing_of_a_card_on_the_cpu():
    backbone = make_backbone("sd15")
    with backbone.training(False):
        found = forecast_memory(backbone, a_config(), LONGEST, seconds=60)
    assert found.line.startswith("about 0.") and "card" not in found.line


def test_what_cannot_be_counted_is_one_note(monkeypatch):
    backbone = make_backbone("sd15")
    with backbone.training(False):
        late = forecast_memory(backbone, a_config(), LONGEST, seconds=0.0)
        monkeypatch.setattr(memory_plan, "count_step", lambda *args, **kwargs: 1 / 0)
        broken = forecast_memory(backbone, a_config(), LONGEST)
    assert late.line == broken.line == "" and "more than 0 s" in late.note and "could not be counted" in broken.note


def test_cancel_is_not_swallowed(monkeypatch):
    def cancel(*args, **kwargs):
        raise management.InterruptProcessingException

    monkeypatch.setattr(memory_plan, "count_step", cancel)
    with pytest.raises(management.InterruptProcessingException):
        forecast_memory(make_backbone("sd15"), a_config(), LONGEST)
