import itertools
import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.datasets.dataset import load_folder, with_masks
from lora_bootstrap.trainer.datasets.recorded import read_images
from lora_bootstrap.trainer.training import adapters
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import (
    Caching,
    CheckpointSaved,
    Finished,
    Previewed,
    Proved,
    RunStarted,
    StepDone,
    Validated,
)
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.validation import Validator


def config(**settings):
    base = TrainConfig(name="tiny", steps=6, state_every=2, state_minutes=0).replace(**{
        "adapter.rank": 4, "adapter.alpha": 4, "adapter.layers": "all", "adapter.conv_rank": 2,
        "optimizer.learning_rate": 1e-2, "data.resolution": 32, "data.batch_size": 2, "data.trigger": "zqx"})
    return base.replace(**settings)


def run(backbone, dataset, root, settings, **options):
    return list(train(backbone, dataset, settings, root, **options))


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def weights(events):
    return load_file(events[-1].path)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def state_of(backbone):
    parts = {"unet": backbone.network, **backbone.text_network}
    return {f"{name}.{key}": value.clone() for name, part in parts.items() for key, value in part.state_dict().items()}


def test_training_lowers_the_loss_and_leaves_a_lora_and_its_story(tiny_backbone, dataset, tmp_path):
    # measured on the training pictures themselves, at fixed noise and times: the training loss jitters with them
    events = run(tiny_backbone, dataset, tmp_path, config(steps=40, validate_every=40), validation=dataset)
    assert [(image.name, image.caption, image.validation) for image in read_images(tmp_path / "tiny")] == [
        (sample.path.name, sample.caption, held_back) for held_back in (False, True) for sample in dataset]
    losses = [event.loss for event in of(events, StepDone)]
    assert [event.step for event in of(events, StepDone)] == list(range(1, 41))
    assert of(events, Validated)[0].ratio < 0.8
    started, finished = of(events, RunStarted)[0], events[-1]
    assert isinstance(finished, Finished) and not finished.stopped and not finished.reused
    assert finished.path == started.folder / "tiny.safetensors" and finished.path.exists()
    lines = [json.loads(line) for line in (started.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines if "loss" in line] == losses
    assert of(events, Caching)[-1].done == of(events, Caching)[-1].total


def test_the_backbone_comes_back_bit_identical(tiny_backbone, dataset, tmp_path):
    before, flags = state_of(tiny_backbone), [p.requires_grad for p in tiny_backbone.network.parameters()]
    run(tiny_backbone, dataset, tmp_path, config(**{"adapter.text_encoder": True}))
    stream = train(tiny_backbone, dataset, config(name="cancelled"), tmp_path)
    while not isinstance(next(stream), StepDone):
        pass
    stream.close()
    assert same(before, state_of(tiny_backbone))
    assert flags == [p.requires_grad for p in tiny_backbone.network.parameters()]


def test_the_saved_lora_gives_the_training_time_output(tiny_backbone, dataset, tmp_path):
    events = run(tiny_backbone, dataset, tmp_path, config(steps=20))
    seen = {}

    def look(key):
        with torch.no_grad():
            torch.manual_seed(5)
            noisy, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.8])
            seen[key] = tiny_backbone.predict(noisy, t, tiny_backbone.encode_text(["zqx, red", "blue"]))

    look("base")
    with tiny_backbone.lora(events[-1].path) as lora:
        look("lora")
        lora.set_strength(0.0)
        look("off")
        assert lora.unmatched == ()
    look("after")
    assert (seen["lora"] - seen["base"]).abs().max() > 1e-2
    torch.testing.assert_close(seen["off"], seen["base"], atol=1e-6, rtol=0)
    assert torch.equal(seen["after"], seen["base"])


def test_equal_settings_give_equal_bits_and_another_seed_gives_others(tiny_backbone, dataset, tmp_path):
    settings = config(**{"data.shuffle_captions": True, "data.caption_dropout": 0.3, "data.flip": True})
    first = weights(run(tiny_backbone, dataset, tmp_path / "a", settings))
    torch.randn(7)  # the global random state must not matter
    assert same(first, weights(run(tiny_backbone, dataset, tmp_path / "b", settings)))
    assert not same(first, weights(run(tiny_backbone, dataset, tmp_path / "c", settings.replace(seed=1))))


def test_fp16_says_at_once_what_it_cannot_scale(tiny_backbone, dataset, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="fp16, in which optimizer adamw_bf16 cannot train: set precision to bf16 or"):
        run(tiny_backbone, dataset, tmp_path, config(precision="fp16", **{"optimizer.name": "adamw_bf16"}))
    monkeypatch.setattr(type(tiny_backbone), "text_device", torch.device("meta"), raising=False)
    with pytest.raises(UserError, match="trained on the meta while .*turn adapter.text_encoder off"):
        run(tiny_backbone, dataset, tmp_path, config(precision="fp16", **{"adapter.text_encoder": True}))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_run_that_cannot_go_on_keeps_weights_and_state(tiny_backbone, dataset, tmp_path, monkeypatch):
    def refuse(*args, **named):
        raise UserError("the prompt is too long")

    monkeypatch.setattr(tiny_backbone, "generate", refuse)
    settings = config(state_every=100, preview_every=3, preview_prompts=("zqx, red",))
    with pytest.raises(UserError, match="the prompt is too long"):
        run(tiny_backbone, dataset, tmp_path, settings)
    assert [path.name for path in tmp_path.rglob("tiny*.safetensors")] == ["tiny-step000003.safetensors"]
    monkeypatch.undo()
    assert of(run(tiny_backbone, dataset, tmp_path, settings), RunStarted)[0].first_step == 3


def test_stop_keeps_the_lora_and_the_next_run_goes_on_to_the_same_bits(tiny_backbone, dataset, tmp_path):
    whole = weights(run(tiny_backbone, dataset, tmp_path / "whole", config()))
    steps = iter(range(100))
    stopped = run(tiny_backbone, dataset, tmp_path / "parts", config(), should_stop=lambda: next(steps) == 2)
    assert stopped[-1].stopped and stopped[-1].step == 3 and stopped[-1].path.exists()
    rest = run(tiny_backbone, dataset, tmp_path / "parts", config())
    assert of(rest, RunStarted)[0].first_step == 3
    assert same(whole, weights(rest))
    lines = (of(rest, RunStarted)[0].folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_cancel_between_steps_keeps_weights_and_state(tiny_backbone, dataset, tmp_path):
    whole = weights(run(tiny_backbone, dataset, tmp_path / "whole", config()))
    stream = train(tiny_backbone, dataset, config(), tmp_path / "parts")
    for event in stream:
        if isinstance(event, StepDone) and event.step == 5:  # not a multiple of state_every
            break
    stream.close()
    rest = run(tiny_backbone, dataset, tmp_path / "parts", config())
    assert of(rest, RunStarted)[0].first_step == 5
    assert same(whole, weights(rest))


def test_a_finished_run_is_reused_and_retrain_forces_it(tiny_backbone, dataset, tmp_path):
    first = run(tiny_backbone, dataset, tmp_path, config())
    again = run(tiny_backbone, dataset, tmp_path, config())
    assert len(again) == 1 and again[0].reused and again[0].path == first[-1].path
    forced = run(tiny_backbone, dataset, tmp_path, config(), retrain=True)
    assert len(of(forced, StepDone)) == 6
    assert same(weights(first), weights(forced))


def test_accumulating_two_batches_is_one_batch_of_both(tiny_backbone, dataset, tmp_path):
    """The mean of two micro-batches' gradients moves the weights as their batch would; here to rounding."""
    big = of(run(tiny_backbone, dataset, tmp_path / "a", config(steps=3, accumulation_steps=2)), StepDone)
    small = of(run(tiny_backbone, dataset, tmp_path / "b", config(steps=6)), StepDone)
    # before any update the first accumulated loss is the mean of the first two batches' losses at the start
    first = of(run(tiny_backbone, dataset, tmp_path / "c",
                   config(steps=2, **{"optimizer.learning_rate": 1e-12})), StepDone)
    assert len(big) == 3 and len(small) == 6
    assert big[0].loss == pytest.approx((first[0].loss + first[1].loss) / 2, rel=1e-5)


def test_validation_is_a_ratio_to_the_base_and_the_same_every_time(tiny_backbone, dataset, tmp_path):
    settings = config(validate_every=2, **{"data.validation_fraction": 0.2})
    validated = of(run(tiny_backbone, dataset, tmp_path / "a", settings), Validated)
    assert [event.step for event in validated] == [2, 4, 6]
    assert len({event.base_loss for event in validated}) == 1
    again = of(run(tiny_backbone, dataset, tmp_path / "b", settings), Validated)
    assert validated == again
    frozen = settings.replace(**{"optimizer.learning_rate": 1e-12})
    assert of(run(tiny_backbone, dataset, tmp_path / "c", frozen), Validated)[-1].ratio == pytest.approx(1, abs=1e-4)


def test_previews_and_checkpoints_come_when_asked(tiny_backbone, dataset, tmp_path):
    settings = config(save_every=2, preview_every=3, preview_prompts=("zqx, red", "zqx, blue"))
    events = run(tiny_backbone, dataset, tmp_path, settings)
    assert [event.step for event in of(events, CheckpointSaved)] == [2, 4, 6]
    previews = of(events, Previewed)
    assert [event.step for event in previews] == [3, 6]
    assert all(path.exists() for event in previews for path in event.paths) and len(previews[0].paths) == 2
    names = sorted(path.name for path in events[-1].path.parent.glob("*.safetensors"))
    assert names == ["tiny-step000002.safetensors", "tiny-step000004.safetensors", "tiny.safetensors"]


def test_checkpoints_can_be_counted_in_epochs(tiny_backbone, dataset, tmp_path):
    events = run(tiny_backbone, dataset, tmp_path, config(steps=7, save_every_epochs=1))  # 3 batches an epoch
    assert [event.step for event in of(events, CheckpointSaved)] == [3, 6, 7]
    long = config(steps=6, save_every_epochs=3, accumulation_steps=4)  # epochs ended after each step: 1, 2, 4, 5, 6, 8
    events = run(tiny_backbone, dataset, tmp_path, long)
    assert [event.step for event in of(events, CheckpointSaved)] == [3, 5, 6]


def test_the_text_encoder_learns_at_its_own_rate(tiny_backbone, dataset, tmp_path):
    settings = config(**{"adapter.text_encoder": True, "optimizer.text_encoder_learning_rate": 1e-3})
    saved = weights(run(tiny_backbone, dataset, tmp_path, settings))
    text = [name for name in saved if name.startswith("lora_te_") and "lora_up" in name]
    assert len(text) > 0 and all(saved[name].abs().max() > 0 for name in text)


@pytest.mark.parametrize("settings", [
    {"precision": "bf16"}, {"gradient_checkpointing": True}, {"optimizer.name": "adafactor"},
    {"optimizer.name": "adamw_bf16"},
    {"objective.timestep_density": "logit_normal", "optimizer.schedule": "cosine", "optimizer.warmup_steps": 2},
    {"data.cache": "ram"}, {"adapter.kind": "dora", "optimizer.name": "adamw_bf16", "adapter.text_encoder": True},
    {"adapter.kind": "lokr", "gradient_checkpointing": True, "adapter.conv_rank": 2},
])
def test_each_way_of_training_descends_and_resumes(tiny_backbone, dataset, tmp_path, settings):
    settings = config(**settings)
    whole = run(tiny_backbone, dataset, tmp_path / "whole", settings)
    assert len(of(whole, Proved)) == 3 and all(event.proof.passed for event in of(whole, Proved))
    calls = iter(range(100))
    run(tiny_backbone, dataset, tmp_path / "parts", settings, should_stop=lambda: next(calls) == 3)
    assert same(weights(whole), weights(run(tiny_backbone, dataset, tmp_path / "parts", settings)))


@pytest.fixture
def encoded(tiny_backbone, monkeypatch):
    """What the tiny model's encoders were given: "image", or a caption or prompt."""
    noted, images, texts = [], tiny_backbone.encode_images, tiny_backbone.pipeline.encode_prompt
    monkeypatch.setattr(tiny_backbone, "encode_images", lambda pixels: (noted.append("image"), images(pixels))[1])

    def encode_prompt(prompt=None, *args, **kwargs):
        noted.extend([prompt] if isinstance(prompt, str) else prompt or [])
        return texts(prompt, *args, **kwargs)

    monkeypatch.setattr(tiny_backbone.pipeline, "encode_prompt", encode_prompt)
    return noted


@pytest.mark.parametrize("place", ["disk", "ram"])
def test_the_next_run_on_the_same_images_encodes_nothing(tiny_backbone, dataset, tmp_path, encoded, place):
    old = tmp_path / "runs" / "old"
    (old / "cache").mkdir(parents=True)
    (old / "run.json").write_text("{}")
    (old / "cache" / f"{'a' * 64}.safetensors").write_text("of an earlier version")
    settings = config(steps=3, **{"data.cache": place})  # one epoch
    first = weights(run(tiny_backbone, dataset, tmp_path / "runs", settings))
    assert encoded.count("image") == 6 and not (old / "cache").exists()
    encoded.clear()
    again = run(tiny_backbone, dataset, tmp_path / "runs", settings, retrain=True)
    assert encoded == []  # the base remembers the proof's prompt
    assert same(first, weights(again))
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"old", "tiny", "tiny-2"}
    assert not list((tmp_path / ".runs-cache" / ".users").iterdir())


def test_a_run_that_cannot_begin_leaves_neither_adapters_nor_a_user_of_the_cache(tiny_backbone, dataset, tmp_path,
                                                                                monkeypatch):
    attach, calls = adapters.attach, iter(range(9))

    def second_refused(*arguments):
        if next(calls):
            raise UserError("no layer fits")
        return attach(*arguments)

    monkeypatch.setattr(adapters, "attach", second_refused)
    before = state_of(tiny_backbone)
    with pytest.raises(UserError, match="no layer fits"):
        run(tiny_backbone, dataset, tmp_path / "runs", config(**{"adapter.text_encoder": True}))
    assert not list((tmp_path / ".runs-cache" / ".users").iterdir())
    assert state_of(tiny_backbone).keys() == before.keys()


def test_the_prompts_of_previews_are_encoded_once_before_the_first_step(tiny_backbone, dataset, tmp_path, encoded):
    settings = config(steps=3, preview_every=1, preview_prompts=("one drawn", "two drawn"))
    events = train(tiny_backbone, dataset, settings, tmp_path)
    while not isinstance(next(events), StepDone):
        pass
    assert encoded.count("one drawn") == 1
    rest = list(events)
    assert len(of(rest, Previewed)) == 3 and encoded.count("one drawn") == encoded.count("two drawn") == 1


def test_the_prompts_of_previews_are_encoded_anew_while_the_text_encoder_is_trained(tiny_backbone, dataset, tmp_path,
                                                                                    encoded):
    settings = config(steps=2, preview_every=1, preview_prompts=("one drawn",), **{"adapter.text_encoder": True})
    run(tiny_backbone, dataset, tmp_path, settings)
    assert encoded.count("one drawn") == 2


def test_gradient_checkpointing_changes_no_bit(tiny_backbone, dataset, tmp_path):
    plain = weights(run(tiny_backbone, dataset, tmp_path / "a", config(steps=3)))
    spared = weights(run(tiny_backbone, dataset, tmp_path / "b", config(steps=3, gradient_checkpointing=True)))
    assert same(plain, spared)


def test_a_loss_that_is_no_number_says_what_to_change_and_keeps_what_was_good(tiny_backbone, dataset, tmp_path):
    settings = config(steps=50, save_every=1, **{"optimizer.learning_rate": 1e30, "optimizer.max_grad_norm": 0.0})
    with pytest.raises(UserError, match=r"lower optimizer.learning_rate \(now 1e\+30\)"):
        run(tiny_backbone, dataset, tmp_path, settings)
    assert not any(tmp_path.rglob("*.tmp"))


@pytest.fixture
def runs_out(tiny_backbone, monkeypatch):
    """`runs_out(calls)`: memory runs out in the backward pass of these predictions, counted from 0."""
    def make(calls):
        predict, count = tiny_backbone.predict, itertools.count()

        def fail(gradient):
            raise torch.OutOfMemoryError("CUDA out of memory")

        def greedy(*args):
            prediction = predict(*args)
            if torch.is_grad_enabled() and next(count) in calls:
                prediction.register_hook(fail)
            return prediction

        monkeypatch.setattr(tiny_backbone, "predict", greedy)

    return make


@pytest.mark.parametrize(("settings", "advice"), [
    ({"fit_memory": False}, "turn on gradient_checkpointing"), ({"gradient_checkpointing": True}, "lower data.batch")])
def test_memory_that_runs_out_says_what_to_lower_and_keeps_the_state(settings, advice, tiny_backbone, dataset, tmp_path,
                                                                     runs_out):
    runs_out({3})
    with pytest.raises(UserError, match=f"batch size 2 at 32 px: {advice}"):
        run(tiny_backbone, dataset, tmp_path, config(**settings))
    rest = run(tiny_backbone, dataset, tmp_path, config(**settings))
    assert of(rest, RunStarted)[0].first_step == 3


def test_a_step_that_runs_out_of_memory_is_taken_again_with_more_blocks_recomputed(tiny_backbone, dataset, tmp_path,
                                                                                   runs_out):
    settings = config(accumulation_steps=2)
    whole = run(tiny_backbone, dataset, tmp_path / "whole", settings)
    runs_out({1, 7})  # the second batches of steps 1 and 3: both batches of step 1 are predicted again
    events = run(tiny_backbone, dataset, tmp_path / "short", settings)
    said = [event.message for event in of(events, Warned) if "memory ran out" in event.message]
    assert len(said) == 2 and "step 1, so half of the blocks are" in said[0] and "step 3, so all blocks" in said[1]
    assert [event.loss for event in of(events, StepDone)] == [event.loss for event in of(whole, StepDone)]
    assert same(weights(whole), weights(events))
    folder = events[-1].path.parent
    assert json.loads((folder / "run.json").read_text())["recomputed"] == 1.0
    assert len(metrics_of(folder)) == len(metrics_of(whole[-1].path.parent))


def test_a_resumed_run_recomputes_what_it_has_needed(tiny_backbone, dataset, tmp_path, runs_out, monkeypatch):
    runs_out({0})
    calls, shares, training = iter(range(100)), [], tiny_backbone.training
    run(tiny_backbone, dataset, tmp_path, config(), should_stop=lambda: next(calls) == 1)
    monkeypatch.setattr(tiny_backbone, "training", lambda *given: shares.append(given[0]) or training(*given))
    run(tiny_backbone, dataset, tmp_path, config())
    assert shares == [0.5]


def test_a_resumed_run_recomputes_what_was_counted_before_the_first_step(tiny_backbone, dataset, tmp_path):
    for event in train(tiny_backbone, dataset, config(steps=2), tmp_path):
        if isinstance(event, RunStarted):
            tiny_backbone.set_recompute(0.25)
    assert json.loads((tmp_path / "tiny" / "run.json").read_text())["recomputed"] == 0.25


def test_memory_that_runs_out_with_all_blocks_recomputed_ends_the_run_with_advice(tiny_backbone, dataset, tmp_path,
                                                                                  runs_out):
    runs_out({2, 3, 4})
    with pytest.raises(UserError, match=r"at step 3 with batch size 2 at 32 px: lower data.batch_size"):
        run(tiny_backbone, dataset, tmp_path, config())
    assert of(run(tiny_backbone, dataset, tmp_path, config()), RunStarted)[0].first_step == 2


def test_memory_that_runs_out_for_a_preview_or_a_validation_leaves_it_out(tiny_backbone, dataset, tmp_path,
                                                                          monkeypatch):
    def fail(*args, **given):
        raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")

    monkeypatch.setattr(tiny_backbone, "generate", fail)
    monkeypatch.setattr(Validator, "measure", fail)
    settings = config(steps=2, preview_every=2, preview_prompts=["red"], validate_every=2)
    events = run(tiny_backbone, dataset, tmp_path, settings, validation=dataset)
    said = [event.message for event in of(events, Warned) if "memory ran out" in event.message]
    assert [line.partition(" at step 2")[0] for line in said] == [
        "memory ran out for the validation", "memory ran out for the preview"]
    assert isinstance(events[-1], Finished)


def test_memory_that_runs_out_in_the_optimizer_is_remembered_for_the_next_start(tiny_backbone, dataset, tmp_path,
                                                                                monkeypatch):
    def fail(*args, **given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", fail)
        with pytest.raises(UserError, match="memory ran out at step 1"):
            run(tiny_backbone, dataset, tmp_path, config())
    shares, training = [], tiny_backbone.training
    monkeypatch.setattr(tiny_backbone, "training", lambda *given: shares.append(given[0]) or training(*given))
    run(tiny_backbone, dataset, tmp_path, config())
    assert shares == [0.5]


def metrics_of(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


def test_captions_that_are_cut_are_reported(tiny_backbone, dataset, tmp_path):
    long = dataset.with_captions(lambda caption: caption + ", " + ", ".join(f"tag{n}" for n in range(60)))
    warnings = of(run(tiny_backbone, long, tmp_path, config(steps=1)), Warned)
    assert any("the model reads 75" in event.message for event in warnings)


def test_a_picture_too_small_is_left_out_by_name_and_the_rest_trains(tiny_backbone, dataset, tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "data" / "speck.png")
    events = run(tiny_backbone, load_folder(tmp_path / "data"), tmp_path, config(steps=1))
    assert any(event.message.startswith("speck.png is left out: 9 x 9 pixels") for event in of(events, Warned))
    assert isinstance(events[-1], Finished)
    for path in (tmp_path / "data").glob("disc*"):
        path.unlink()
    with pytest.raises(UserError, match="no image can be trained on: speck.png"):
        run(tiny_backbone, load_folder(tmp_path / "data"), tmp_path, config(steps=1))


def masked(dataset, folder):
    """The same pictures, the left half of each meant."""
    folder.mkdir()
    masks = {}
    for sample in dataset:
        mask = Image.new("L", sample.size, 0)
        mask.paste(255, (0, 0, sample.size[0] // 2, sample.size[1]))
        masks[sample.path] = folder / f"{sample.path.stem}.png"
        mask.save(masks[sample.path])
    return with_masks(dataset, masks)


def test_a_mask_of_everything_trains_as_no_mask_does(tiny_backbone, dataset, tmp_path):
    (tmp_path / "white").mkdir()
    whole = {sample.path: tmp_path / "white" / f"{sample.path.stem}.png" for sample in dataset}
    for sample in dataset:
        Image.new("L", sample.size, 255).save(whole[sample.path])
    plain = run(tiny_backbone, dataset, tmp_path / "a", config())
    white = run(tiny_backbone, with_masks(dataset, whole), tmp_path / "b", config(**{"data.masked_loss": True}))
    for one, other in zip(of(plain, StepDone), of(white, StepDone), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)


def test_what_is_outside_the_mask_is_not_learnt(tiny_backbone, dataset, tmp_path):
    """With no weight outside and no prior, other pixels there change nothing but what the VAE carries across."""
    settings = {"data.masked_loss": True, "data.masked_prior": 0.0, "steps": 1, "optimizer.learning_rate": 1e-9}
    pictures = masked(dataset, tmp_path / "masks")
    losses = {
        weight: of(run(tiny_backbone, pictures, tmp_path / str(weight), config(**settings, **{
            "data.unmasked_weight": weight})), StepDone)[0].loss for weight in (0.0, 1.0)}
    plain = of(run(tiny_backbone, dataset, tmp_path / "plain", config(steps=1, **{
        "optimizer.learning_rate": 1e-9})), StepDone)[0].loss
    assert losses[1.0] == pytest.approx(plain, rel=1e-5) and losses[0.0] != pytest.approx(plain, rel=1e-3)


def test_the_prior_keeps_the_surroundings_as_the_base_predicts_them(tiny_backbone, dataset, tmp_path):
    pictures = masked(dataset, tmp_path / "masks")
    settings = {"data.masked_loss": True, "data.unmasked_weight": 0.0, "steps": 20, "data.caption_dropout": 0.0}
    moved = {}
    for prior in (0.0, 20.0):
        events = run(tiny_backbone, pictures, tmp_path / str(prior), config(**settings, **{"data.masked_prior": prior}))
        moved[prior] = surroundings_moved(tiny_backbone, events[-1].path)
    assert moved[20.0] < 0.6 * moved[0.0]


def surroundings_moved(backbone, lora):
    """Mean distance of the predictions with and without the LoRA in the right half of the latents."""
    generator = torch.Generator().manual_seed(3)
    noisy = torch.randn(4, 4, 8, 8, generator=generator)
    t, heard = torch.tensor([0.2, 0.4, 0.6, 0.8]), backbone.encode_text(["zqx, red hair"] * 4)
    with torch.no_grad():
        before = backbone.predict(noisy, t, heard)
        with backbone.lora(lora):
            after = backbone.predict(noisy, t, heard)
    return (after - before)[..., 4:].abs().mean().item()


def test_a_masked_loss_without_any_mask_is_told(tiny_backbone, dataset, tmp_path):
    events = run(tiny_backbone, dataset, tmp_path, config(**{"data.masked_loss": True}))
    assert any("no image has a mask" in event.message for event in of(events, Warned))


def test_a_changed_mask_makes_a_new_run(tiny_backbone, dataset, tmp_path):
    pictures = masked(dataset, tmp_path / "masks")
    settings = config(steps=2, **{"data.masked_loss": True})
    run(tiny_backbone, pictures, tmp_path / "runs", settings)
    assert run(tiny_backbone, pictures, tmp_path / "runs", settings)[-1].reused
    Image.new("L", pictures.samples[0].size, 255).save(pictures.samples[0].mask)
    assert not run(tiny_backbone, pictures, tmp_path / "runs", settings)[-1].reused
