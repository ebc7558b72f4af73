"""Optimizers that find their own rate start from it, and say so where it is held back or not found."""

from dataclasses import replace

import pytest

from lora_bootstrap.tests.helpers.short_runs import change, run
from lora_bootstrap.tests.helpers.tiny import make_dataset
from lora_bootstrap.trainer.captions.kinds import KINDS
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.models.families import FAMILIES
from lora_bootstrap.trainer.training.optimizers import OPTIMIZERS, OptimizerConfig, rate_warning
from lora_bootstrap.trainer.training.presets import preset_config
from lora_bootstrap.trainer.training.runs import run_key

OWN = [name for name, row in OPTIMIZERS.items() if row.rate is not None]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("kind", KINDS)
def test_no_presets_rate_is_for_an_optimizer_that_finds_its_own(name, kind):
    """The stages of the bootstrap start from these presets too."""
    for family in FAMILIES.values():
        config = preset_config(family, kind, {"optimizer.name": name})
        assert config.optimizer.learning_rate == OPTIMIZERS[name].rate == 1.0
        assert rate_warning(config.optimizer) == ""


def test_a_rate_that_is_not_a_number_is_a_mistake_in_one_line():
    with pytest.raises(UserError, match="learning_rate"):
        preset_config(FAMILIES["sdxl"], "style", {"optimizer.name": "lion", "optimizer.learning_rate": "fast"})


@pytest.mark.parametrize("kind", ["style", "character"])
@pytest.mark.parametrize("family", ["sandbox", "sdxl"])
def test_lion_takes_a_third_of_the_presets_rates_came_a_tenth_and_a_schedule_free_optimizer_no_schedule(kind, family):
    plain = preset_config(FAMILIES[family], kind).optimizer
    for name, parts in (("lion", 3), ("came", 10)):
        own = preset_config(FAMILIES[family], kind, {"optimizer.name": name}).optimizer
        assert own.learning_rate == pytest.approx(plain.learning_rate / parts) and own.schedule == plain.schedule
        if plain.text_encoder_learning_rate:
            assert own.text_encoder_learning_rate == pytest.approx(plain.text_encoder_learning_rate / parts)
    free = preset_config(FAMILIES[family], kind, {"optimizer.name": "adamw_schedule_free"}).optimizer
    assert (free.schedule, free.learning_rate) == ("constant", plain.learning_rate)
    chosen = {"optimizer.name": "lion", "optimizer.learning_rate": 3e-4, "optimizer.schedule": "rex"}
    own = preset_config(FAMILIES[family], kind, chosen).optimizer
    assert (own.learning_rate, own.schedule) == (3e-4, "rex")


def test_a_rate_of_the_users_own_is_kept_and_warned_about_if_it_holds_the_optimizer_back():
    config = preset_config(FAMILIES["sdxl"], "style", {"optimizer.name": "prodigy", "optimizer.learning_rate": 1e-4})
    assert config.optimizer.learning_rate == 1e-4
    assert "at 0.0001 it hardly learns. Set the learning rate to 1" in rate_warning(config.optimizer)
    assert rate_warning(OptimizerConfig(name="prodigy", learning_rate=0.1)) == ""


def test_others_follow_the_preset_without_a_word():
    config = preset_config(FAMILIES["sdxl"], "style", {"optimizer.name": "adamw8bit"})
    assert config.optimizer.learning_rate == FAMILIES["sdxl"].presets["style"].learning_rate
    assert rate_warning(config.optimizer) == ""


def test_a_run_of_a_row_that_trains_otherwise_now_is_another_run():
    config = preset_config(FAMILIES["flux2"], "style")
    assert run_key(config, "base", "data", family=FAMILIES["flux2"]) != run_key(config, "base", "data")
    for name in ("sd15", "sdxl", "sandbox", "lumina2", "sd3"):
        config = preset_config(FAMILIES[name], "style")
        assert run_key(config, "base", "data", family=FAMILIES[name]) == run_key(config, "base", "data")
    attention = preset_config(FAMILIES["flux"], "style", {"adapter.layers": "attention"})
    assert run_key(attention, "b", "d", family=FAMILIES["flux"]) != run_key(attention, "b", "d")
    both = preset_config(FAMILIES["flux"], "style")
    assert run_key(both, "b", "d", family=FAMILIES["flux"]) == run_key(both, "b", "d")


def test_a_run_of_an_optimizer_that_trains_otherwise_now_is_another_run(monkeypatch):
    config = preset_config(FAMILIES["sdxl"], "style", {"optimizer.name": "prodigy"})
    now = run_key(config, "base", "data")
    monkeypatch.setitem(OPTIMIZERS, "prodigy", replace(OPTIMIZERS["prodigy"], renewed=False))
    assert run_key(config, "base", "data") != now


@pytest.fixture(scope="module")
def trained(tiny_backbone, tmp_path_factory):
    """(name of an optimizer, steps) → the events of a training of the tiny model by the sandbox's preset."""
    dataset, done = make_dataset(tmp_path_factory.mktemp("data")), {}

    def train(name, steps):
        if (name, steps) not in done:
            settings = {"name": name, "steps": steps, "optimizer.name": name, "data.resolution": 32,
                        "data.batch_size": 1, "data.trigger": "zqx"}
            done[name, steps] = run(tiny_backbone, dataset, tmp_path_factory.mktemp(name),
                                    preset_config(FAMILIES["sandbox"], "character", settings))
        return done[name, steps]

    return train


@pytest.mark.parametrize("name", ["prodigy", "lion", "came"])
def test_by_the_preset_no_optimizer_learns_next_to_nothing_or_far_too_much(trained, name):
    """In the rates of AdamW, CAME changes the weights 70 times as much."""
    pytest.importorskip("prodigyopt" if name == "prodigy" else "pytorch_optimizer")
    assert 0.02 < change(trained(name, 60)) / change(trained("adamw", 60)) < 20


def test_a_training_that_ends_before_its_rate_is_found_says_so(trained):
    pytest.importorskip("prodigyopt")
    short, long = ([event.message for event in trained("prodigy", steps) if isinstance(event, Warned)]
                   for steps in (8, 60))
    assert any("has hardly changed anything. Take more steps" in line for line in short)
    assert not any("hardly changed" in line for line in long)
