"""From counts to a plan: what fits, in which order settings are given up, how large a batch may be, what is cached."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.memory.bases import Base, find_base
from lora_bootstrap.trainer.memory.cache import cached
from lora_bootstrap.trainer.memory.cards import CARDS, GIB, LAUNCH, step_seconds
from lora_bootstrap.trainer.memory.counter import TookTooLong
from lora_bootstrap.trainer.memory.plan import (
    CONTEXT,
    PACKED,
    WORKSPACE,
    Estimate,
    block_shares,
    count_published,
    make_plan,
    packed,
    ram_of,
)
from lora_bootstrap.trainer.memory.shapes import SHAPES, shape_family
from lora_bootstrap.trainer.memory.step import StepCount
from lora_bootstrap.trainer.models.families import FAMILIES
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.presets import preset_config

COUNT = StepCount(weights=10 * GIB, adapter=GIB, state=GIB, peak=20 * GIB, modules=10, parameters=GIB // 4,
                  operations=10**13, traffic=10**11, kernels=1000, widest=0)
OVERHEAD = WORKSPACE + CONTEXT


def a_count(config, precision, recompute):
    """10 GiB of weights in bf16, 2 for the LoRA and its state, 8 a picture, an eighth of that with all blocks
    recomputed."""
    weights = {"fp32": 20, "bf16": 10, "fp8": 5}[precision] * GIB
    each = 8 * GIB - recompute * 7 * GIB
    peak = weights + 2 * GIB + round(each * config.data.batch_size)
    return replace(COUNT, weights=weights, movable=weights, peak=peak)


def a_plan(vram, precision="bf16", **settings):
    config = TrainConfig(steps=100).replace(**settings)
    return make_plan(Base(SHAPES["flux"]), config, precision, vram, 10, count=a_count)


@pytest.mark.parametrize(("vram", "words"), [
    (22, "bf16 base"), (15, "gradient checkpointing for 90% of the blocks and bf16 base"),
    (14.2, "gradient checkpointing and bf16 base"), (10, "gradient checkpointing for 90% of the blocks and fp8 base"),
    (8, "gradient checkpointing and fp8 base and 35% of the blocks in RAM")])
def test_what_gives_up_least_is_taken_first(vram, words):
    plan = a_plan(vram)
    assert plan.fits.words == words
    assert plan.asked.needed == 20 * GIB + OVERHEAD and plan.fits.needed <= vram * GIB


@pytest.mark.parametrize(("vram", "words"), [
    (32, "fp32 base"), (22, "bf16 base"), (25, "bf16 base"),
    (15, "gradient checkpointing for 90% of the blocks and bf16 base"),
    (10, "gradient checkpointing for 90% of the blocks and fp8 base")])
def test_float32_is_given_up_before_speed(vram, words):
    assert a_plan(vram, "fp32").fits.words == words


def test_checkpointing_that_is_on_stays_on():
    plan = a_plan(10, gradient_checkpointing=True)
    assert plan.asked.needed == 13 * GIB + OVERHEAD
    assert plan.fits.words == "gradient checkpointing and fp8 base"


def test_nothing_fits_a_card_that_is_too_small():
    plan = a_plan(4)
    assert plan.fits is None and plan.largest_batch == 0


def test_the_largest_batch_is_the_last_that_fits():
    plan = a_plan(22)
    assert plan.largest_batch == 1
    assert a_plan(12 + 5 * 8 + 2).largest_batch == 5


def test_a_plan_that_fits_takes_two_counts():
    asked = []

    def counted(config, precision, recompute):
        asked.append(config.data.batch_size)
        return a_count(config, precision, recompute)

    plan = make_plan(Base(SHAPES["flux"]), TrainConfig(), "bf16", 40, 10, count=counted)
    assert plan.largest_batch == 3 and asked == [1, 2]


@pytest.mark.parametrize(("precision", "movable"), [("fp8", 4), ("int8", 4), ("nf4", 8 * 0.28125)])
def test_a_packed_base_is_smaller_and_unpacks_one_layer_at_a_time(precision, movable):
    count = replace(COUNT, widest=10**6, movable=8 * GIB)
    small = packed(count, PACKED[precision])
    assert small.movable == pytest.approx(movable * GIB) and small.weights == pytest.approx((2 + movable) * GIB)
    assert small.activations == count.activations + 2 * 10**6


def test_only_a_text_encoder_that_is_trained_is_on_the_card_with_its_lora(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"adapter.layers": "attention", "adapter.rank": 16}
    moved, resident = (make_plan(Base(SHAPES["sd15"]), TrainConfig().replace(**settings, **{
        "adapter.text_encoder": trained}), "bf16", 24, 1, count=a_count).asked for trained in (False, True))
    weights, lora = 2 * 123_060_480, 12 * 4 * (768 + 768) * 16  # with float32 moments and gradients: 16 bytes each
    assert weights + 16 * lora < resident.needed - moved.needed < weights + 16 * lora + 200 * 2**20


def test_blocks_in_ram_are_off_the_card_but_for_two_layers():
    count = replace(COUNT, movable=8 * GIB, widest=10**6)
    whole, half = (Estimate(TrainConfig(), "bf16", count, offload=share) for share in (0.0, 0.5))
    assert whole.needed - half.needed == half.in_ram == 4 * GIB - 4 * 10**6
    assert whole.copies == 0 and half.copies == pytest.approx(2 * half.in_ram / 25e9)


def test_the_last_blocks_are_in_ram_by_what_they_weigh():
    count = replace(COUNT, movable=8 * GIB)
    some = Estimate(TrainConfig(), "bf16", count, offload=0.3, blocks=(0.25, 0.5, 0.125, 0.125))
    assert some.in_ram == 2 * GIB  # two of four blocks
    shares = block_shares(SHAPES["sdxl"])
    assert sum(shares) == pytest.approx(1) and min(shares) < 0.5 * max(shares)


def test_a_precision_that_is_asked_for_is_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shape = find_base("sandbox").shape
    configs = [TrainConfig(precision=precision).replace(**{"data.resolution": 256})
               for precision in ("auto", "fp32", "bf16", "fp16")]
    auto, full, half, other = (count_published(shape, config, "bf16").peak for config in configs)
    assert auto == half == other != full


def test_a_share_that_takes_too_long_to_count_lies_on_the_line_between_none_and_all():
    def counted(config, precision, recompute):
        if 0 < recompute < 1:
            raise TookTooLong
        return a_count(config, precision, recompute)

    found = make_plan(Base(SHAPES["flux"]), TrainConfig(), "bf16", 18, 10, count=counted).fits
    assert found.recompute == 0.45 and found.count == a_count(TrainConfig(), "bf16", 0.45)


def test_disk_is_that_of_the_files_and_of_two_states():
    plan = a_plan(80, save_every=50)
    assert plan.disk == 2 * GIB + 2 * 2 * GIB


def test_a_step_takes_its_arithmetic_and_traffic_or_the_start_of_its_kernels():
    card = next(card for card in CARDS if card.name == "RTX 3090")
    assert step_seconds(COUNT, card) == pytest.approx(10 / (71 * 0.5) + 100 / (936 * 0.8))
    assert step_seconds(replace(COUNT, kernels=10**6), card) == 10**6 * LAUNCH


def test_cards_that_cannot_hold_a_step_have_no_time():
    assert set(a_plan(22).seconds) == {card.name for card in CARDS if card.memory >= 22}


# -- what a base is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "shape", "name"), [
    ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", (9, 3), "flux"),
    ("double_stream_modulation_img.lin.weight", (6 * 3072, 1), "flux2_klein_4b"),
    ("layers.0.attention.qkv.weight", (3 * 3840, 1), "z_image"),
    ("layers.0.attention.qkv.weight", (3840, 1), "lumina2"),
    ("transformer_blocks.0.img_mod.1.weight", (9, 3), "qwen_image"),
    ("model.diffusion_model.input_blocks.0.0.weight", (9, 3), "sd15"),
])
def test_a_file_is_recognized_by_its_header(key, shape, name, tmp_path):
    save_file({key: torch.zeros(shape, dtype=torch.float8_e4m3fn), "blocks.0.a.weight": torch.zeros(
        1, dtype=torch.float8_e4m3fn)}, tmp_path / "base.safetensors")
    found = find_base(str(tmp_path / "base.safetensors"))
    assert found.shape.name == name and found.precision == "fp8"


def test_a_folder_is_what_its_config_says(tmp_path):
    (tmp_path / "transformer").mkdir()
    write_json(tmp_path / "transformer" / "config.json", {
        "_class_name": "QwenImageTransformer2DModel", "_diffusers_version": "0.1", "num_layers": 5,
        "joint_attention_dim": 99})
    found = find_base(str(tmp_path))
    assert found.shape.settings == {"num_layers": 5, "joint_attention_dim": 99} and found.shape.width == 99
    assert found.shape.family == "qwen_image"


def test_every_family_is_known_by_its_name():
    for name, family in FAMILIES.items():
        if name in ("anima", "wan"):
            with pytest.raises(UserError, match=f"{name} cannot be counted here. Train LoRA counts it in ComfyUI"):
                find_base(name)
        elif name != "sandbox":
            found = find_base(name.replace("_", "-"))
            assert shape_family(found.shape) is family
            assert bool(found.note) == (name == "qwen_image_edit")
    others = {name: find_base(name).shape for name in ("NoobAI", "pony", "z-image-turbo")}
    assert [shape.family for shape in others.values()] == ["illustrious", "sdxl", "z_image"]
    assert others["pony"].settings == SHAPES["sdxl"].settings


def test_a_base_that_is_not_known_is_refused(tmp_path):
    (tmp_path / "unet").mkdir()
    write_json(tmp_path / "unet" / "config.json", {"_class_name": "Other"})
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    for text, words in (("sdxll", "neither a known name"), (str(tmp_path), "describes 'Other'"),
                        (str(tmp_path / "a.safetensors"), "not a network that is known")):
        with pytest.raises(UserError, match=words):
            find_base(text)


# -- the cache ---------------------------------------------------------------------------------------------------------


def test_the_same_question_is_counted_once(tmp_path):
    file, asked = tmp_path / "caches" / "memory.json", []

    def counted():
        asked.append(1)
        return COUNT

    assert [cached({"side": 512}, counted, file) for _ in range(2)] == [COUNT, COUNT]
    assert len(asked) == 1
    cached({"side": 768}, counted, file)
    assert len(asked) == 2
    file.write_text("{")
    assert cached({"side": 512}, counted, file) == COUNT and len(asked) == 3


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path):
    (tmp_path / "file").write_text("")
    assert cached({}, lambda: COUNT, tmp_path / "file" / "memory.json") == COUNT


def test_an_estimate_is_as_the_device_would_report_it():
    estimate = Estimate(TrainConfig(), "bf16", COUNT)
    assert (estimate.peak, estimate.needed) == (20 * GIB + WORKSPACE, 20 * GIB + OVERHEAD)


def test_the_copy_of_the_training_state_that_is_being_written_counts_in_the_ram():
    plan = a_plan(96)
    larger = replace(plan.asked, count=replace(plan.asked.count, state=3 * GIB, adapter=2 * GIB))
    assert ram_of(SHAPES["flux"], larger, 10) - plan.ram == 3 * GIB


@pytest.mark.slow
def test_a_fine_tune_of_sdxl_is_predicted_to_fit_twelve_gigabytes_and_eight_with_blocks_in_ram(tmp_path, monkeypatch):
    """Adafactor, bf16, each gradient freed as it arrives, batch 2, gradient checkpointing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = preset_config(FAMILIES["sdxl"], "character", {
        "method": "full", "precision": "bf16", "gradient_checkpointing": True})
    assert (config.optimizer.name, config.data.batch_size, config.data.resolution) == ("adafactor", 2, 1024)
    found = Estimate(config, "bf16", count_published(SHAPES["sdxl"], config, "bf16"), recompute=1.0)
    assert 2 * 2.5e9 < found.count.adapter < 2 * 2.6e9 and found.count.weights < 1e6
    assert found.needed <= 12 * GIB
    blocks = block_shares(SHAPES["sdxl"])
    moved = [replace(found, offload=number / 20, blocks=blocks) for number in range(21)]
    fits = next(other for other in moved if other.needed <= 8 * GIB)
    assert 50 < fits.blocks_in_ram < 80 and len(blocks) == 91 and 3 * GIB < fits.in_ram < 4.5 * GIB
    assert moved[20].needed < 8 * GIB


def test_a_count_without_a_moving_average_is_not_the_answer_for_one_with_it(monkeypatch):
    asked = []
    monkeypatch.setattr("lora_bootstrap.trainer.memory.plan.cached", lambda question, count: asked.append(question))
    for decay in (0.0, 0.99):
        count_published(find_base("sandbox").shape, preset_config(FAMILIES["sandbox"], "character", {
            "optimizer.ema_decay": decay}), "bf16")
    assert asked[0] != asked[1]


def test_a_fine_tune_of_several_batches_a_step_holds_all_gradients(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, two = (count_published(find_base("sandbox").shape, preset_config(FAMILIES["sandbox"], "character", {
        "method": "full", "precision": "bf16", "accumulation_steps": batches}), "bf16") for batches in (1, 2))
    assert two.peak - one.peak == two.adapter == one.adapter
