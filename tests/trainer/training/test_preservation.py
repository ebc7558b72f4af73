"""The base is kept where the trigger is missing, without regularisation images."""

import pytest
import torch

from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.preserving.preservation import preserved_prompts, remove_trigger

from ...helpers.short_runs import run, run_in_two_parts, same_weights, short_config

KEPT = {"preservation.weight": 20.0}


def moved(backbone, file, prompt):
    """Mean distance of the predictions with and without a file."""
    noisy = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    t, heard = torch.tensor([0.2, 0.4, 0.6, 0.8]), backbone.encode_text([prompt] * 4)
    with torch.no_grad():
        before = backbone.predict(noisy, t, heard)
        with backbone.lora(file):
            return (backbone.predict(noisy, t, heard) - before).abs().mean().item()


FULL = {"method": "full", "optimizer.name": "adafactor", "optimizer.learning_rate": 1e-3}


@pytest.mark.parametrize(("steps", "method"), [(12, {}), (15, FULL)], ids=["lora", "full"])
def test_the_base_is_kept_for_the_blank_prompt(tiny_backbone, dataset, tmp_path, steps, method):
    plain, kept = (
        run(tiny_backbone, dataset, tmp_path / name, short_config(steps=steps, **method, **settings))[-1].path
        for name, settings in (("plain", {}), ("kept", KEPT)))
    assert moved(tiny_backbone, kept, "") < 0.8 * moved(tiny_backbone, plain, "")


def test_each_setting_of_the_preservation_changes_what_is_trained(tiny_backbone, dataset, tmp_path):
    runs = [run(tiny_backbone, dataset, tmp_path / str(number), short_config(steps=3, **settings))
            for number, settings in enumerate((
                {}, KEPT, {**KEPT, "preservation.every": 2}, {**KEPT, "preservation.prompt": "a girl"}))]
    assert not any(same_weights(one, other) for place, one in enumerate(runs) for other in runs[:place])


def test_a_run_that_preserves_in_every_second_step_is_resumed_exactly(tiny_backbone, dataset, tmp_path):
    settings = short_config(steps=4, accumulation_steps=2, **KEPT, **{
        "preservation.every": 2, "data.caption_dropout": 0.3, "data.shuffle_captions": True})
    whole = run(tiny_backbone, dataset, tmp_path / "whole", settings)
    assert same_weights(whole, run_in_two_parts(tiny_backbone, dataset, tmp_path / "parts", settings))


def test_a_run_that_does_not_preserve_keeps_its_key(tiny_backbone, dataset, tmp_path):
    def reused(**settings):
        return run(tiny_backbone, dataset, tmp_path / "runs", short_config(steps=1, **settings))[-1].reused

    assert [reused(), reused(**{"preservation.weight": 0.0}), reused(**KEPT)] == [False, True, False]


def test_the_prompts_that_are_kept_are_encoded_before_the_first_step(tiny_backbone, dataset, tmp_path, monkeypatch):
    encoded, encode, started = [], tiny_backbone.encode_text, False

    def watched(captions, *rest):
        encoded.extend(captions)
        assert not started, f"{captions} are encoded in a step"
        return encode(captions, *rest)

    monkeypatch.setattr(tiny_backbone, "encode_text", watched)
    for event in train(tiny_backbone, dataset, short_config(**KEPT, **{"data.tag_dropout": 0.3}), tmp_path):
        started = started or isinstance(event, StepDone)
    assert "" in encoded and any(caption and "zqx" not in caption for caption in encoded)


@pytest.mark.parametrize(("caption", "trigger", "left"), [
    ("zqx, 1girl, smile", "zqx", "1girl, smile"), ("A photo of ZQX standing, outdoors", "zqx",
                                                   "A photo of standing, outdoors"),
    ("zqx woman, red coat, zqxs", "zqx", "woman, red coat, zqxs"), ("zqx, cat ears", "zqx, cat ears", ""),
    ("saber (fate), smile", "saber (fate)", "smile")])
def test_the_trigger_is_taken_out_of_the_captions_that_are_kept(caption, trigger, left):
    assert remove_trigger(caption, trigger) == left
    config = TrainConfig().replace(**{"data.trigger": trigger})
    assert preserved_prompts(config, caption) == (("", left) if left else ("",))


def test_without_a_trigger_or_with_a_prompt_the_captions_are_not_kept():
    assert preserved_prompts(TrainConfig(), "1girl, smile") == ("",)
    config = TrainConfig().replace(**{"data.trigger": "zqx", "preservation.prompt": "a girl"})
    assert preserved_prompts(config, "zqx, smile") == ("a girl",)
