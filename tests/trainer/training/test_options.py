"""Options of a training: each changes what is trained, and a run that is stopped goes on with it to the same bits."""

import json
from contextlib import closing

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import Factors, load_lora
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.objectives import Loss
from lora_bootstrap.trainer.training.optimizers import OptimizerConfig
from lora_bootstrap.trainer.training.runs import read_run, run_key
from lora_bootstrap.trainer.training.step.averages import Averages, decay_at
from lora_bootstrap.trainer.training.step.draws import draw_batch
from lora_bootstrap.trainer.training.step.max_norm import limit_norms
from lora_bootstrap.trainer.training.trained.average import average_checkpoints

from ...helpers.tiny import make_dataset

STEPS = 4
LOSSES = {
    "huber": {"objective.loss": "huber"},
    "smooth_l1": {"objective.loss": "smooth_l1"},
    "huber_delta": {"objective.loss": "huber", "objective.huber_delta": 0.5},
    "huber_schedule": {"objective.loss": "huber", "objective.huber_schedule": "snr"},
    "debiased": {"objective.weighting": "debiased"},
    "noise_offset": {"objective.noise_offset": 0.1},
    "ip_noise_gamma": {"objective.ip_noise_gamma": 0.1},
    "min_timestep": {"objective.min_timestep": 0.2},
    "max_timestep": {"objective.max_timestep": 0.7},
}
"""Options that change the loss of the first step."""
WEIGHTS = {
    "schedule_free": {"optimizer.name": "adamw_schedule_free"},
    "lion": {"optimizer.name": "lion"},
    "came": {"optimizer.name": "came"},
    "ema_decay": {"optimizer.ema_decay": 0.5},
    "max_norm": {"optimizer.max_norm": 1e-3},
}
"""Options that change what is saved."""
TOGETHER = (
    {**WEIGHTS["schedule_free"], **LOSSES["huber_schedule"], **LOSSES["noise_offset"], **LOSSES["ip_noise_gamma"],
     **LOSSES["min_timestep"], "optimizer.schedule": "rex"},
    {**WEIGHTS["lion"], **WEIGHTS["ema_decay"], **LOSSES["debiased"]},
    {**WEIGHTS["came"], **WEIGHTS["max_norm"], "optimizer.warmup_steps": 2},
)
LIBRARIES = {"adamw_schedule_free": "schedulefree", "lion": "pytorch_optimizer", "came": "pytorch_optimizer"}


def config(**settings):
    return TrainConfig(name="tiny", steps=STEPS, state_every=1, state_minutes=0).replace(**{
        "adapter.rank": 4, "adapter.alpha": 4, "optimizer.learning_rate": 1e-2, "data.resolution": 32,
        "data.batch_size": 2, **settings})


def trained(backbone, dataset, root, settings, **options):
    return list(train(backbone, dataset, settings, root, **options))[-1].path


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def need(settings):
    if library := LIBRARIES.get(settings.get("optimizer.name")):
        pytest.importorskip(library)


@pytest.fixture(scope="module")
def plain(tiny_backbone, tmp_path_factory):
    """The settings without any option: the loss of the first step, and what is saved after the second."""
    root = tmp_path_factory.mktemp("plain")
    data = make_dataset(root / "data")
    path = trained(tiny_backbone, data, root, config(steps=2, save_every=1))
    return first_loss(tiny_backbone, data, root / "losses", config()), load_file(path), path


@pytest.mark.parametrize("name", LOSSES)
def test_an_option_of_the_loss_changes_noise_times_or_the_cost_of_an_error(name, tiny_backbone):
    sums = []
    for settings in ({}, LOSSES[name]):
        loss = Loss.of(tiny_backbone.family, tiny_backbone.schedule, config(**settings).objective)
        drawn = draw_batch(loss, 0, 0, (4, 4, 8, 8))
        cost = loss.per_sample(torch.zeros(4, 4, 8, 8), drawn.noise, drawn.noise, drawn.t)
        sums.append(torch.stack([cost.mean(), drawn.added.std(), drawn.noise.std(), drawn.t.mean()]))
    assert (sums[1] / sums[0] - 1).abs().max() > 1e-3


def first_loss(backbone, dataset, root, settings):
    with closing(train(backbone, dataset, settings, root)) as events:
        return next(event.loss for event in events if isinstance(event, StepDone))


@pytest.mark.parametrize("name", ["huber", "noise_offset", "ip_noise_gamma"])
def test_an_option_of_the_loss_changes_that_of_a_step(name, plain, tiny_backbone, dataset, tmp_path):
    assert abs(first_loss(tiny_backbone, dataset, tmp_path, config(**LOSSES[name])) / plain[0] - 1) > 1e-3


@pytest.mark.parametrize("name", ["schedule_free", "max_norm"])
def test_an_option_of_the_optimizer_changes_what_is_saved(name, plain, tiny_backbone, dataset, tmp_path):
    need(WEIGHTS[name])
    found = load_file(trained(tiny_backbone, dataset, tmp_path, config(steps=2, **WEIGHTS[name])))
    assert found.keys() == plain[1].keys() and not same(found, plain[1])


@pytest.mark.parametrize("settings", TOGETHER, ids=lambda settings: settings["optimizer.name"])
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(settings, tiny_backbone, dataset, tmp_path):
    """The one that goes on also measures in between, which may not change what is trained."""
    need(settings)
    whole = load_file(trained(tiny_backbone, dataset, tmp_path / "whole", config(**settings)))
    measured, steps = config(validate_every=2, **settings), iter(range(STEPS))
    trained(tiny_backbone, dataset, tmp_path / "parts", measured, validation=dataset,
            should_stop=lambda: next(steps) == 2)
    assert read_run(tmp_path / "parts" / "tiny").step == 3
    assert same(load_file(trained(tiny_backbone, dataset, tmp_path / "parts", measured, validation=dataset)), whole)


@pytest.mark.parametrize("settings", [*LOSSES.values(), *WEIGHTS.values()], ids=[*LOSSES, *WEIGHTS])
def test_an_option_makes_another_run_and_earlier_runs_keep_their_keys(settings):
    plain, other = (run_key(config(**values), "base", "data") for values in ({}, settings))
    assert plain != other and plain.startswith("a5a984a1c3ee")


# -- averages of the steps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_ema_is_the_average_that_its_decay_says_and_the_training_goes_on_with_its_own_weights(dtype):
    weight = torch.nn.Parameter(torch.zeros(3, dtype=dtype))
    averages, expected = Averages([weight], OptimizerConfig(ema_decay=0.9)), torch.zeros(3)
    for step in range(1, 40):
        with torch.no_grad():
            weight += 1 / step
        decay = min(0.9, (step - 1) / (step + 8))
        expected = decay * expected + (1 - decay) * weight.detach().float()
        averages.update(step)
    own = weight.detach().clone()
    with pytest.raises(RuntimeError), averages.shown(None):
        torch.testing.assert_close(weight.detach(), expected.to(dtype))
        torch.testing.assert_close(averages.tensors()["average.0"], expected)
        raise RuntimeError("a preview failed")
    assert torch.equal(weight.detach(), own) and not torch.equal(own.float(), expected)


def test_the_file_of_a_run_with_an_ema_holds_the_average_of_its_steps(plain, tiny_backbone, dataset, tmp_path):
    path = trained(tiny_backbone, dataset, tmp_path, config(steps=2, **WEIGHTS["ema_decay"]))
    first, second = (load_lora(file).modules for _, file in read_run(plain[2].parent).checkpoints())
    for name, module in load_lora(path).modules.items():  # the decays are 0 and 1/10
        average = 0.1 * first[name].up + 0.9 * second[name].up
        torch.testing.assert_close(module.up, average, rtol=5e-3, atol=5e-5)  # files hold 16 bits
        assert not torch.allclose(module.up, second[name].up, rtol=5e-3, atol=5e-5)


def test_the_average_of_a_short_run_forgets_where_it_began():
    assert decay_at(1, 0.999) == 0 and decay_at(10_000, 0.999) == 0.999


def test_the_average_of_a_dora_has_its_full_magnitudes_from_the_first_step_on(tiny_backbone, dataset, tmp_path):
    settings = {"adapter.kind": "dora", "optimizer.learning_rate": 1e-6}
    plain, averaged = (load_file(trained(tiny_backbone, dataset, tmp_path / str(decay), config(
        steps=2, **settings, **{"optimizer.ema_decay": decay}))) for decay in (0.0, 0.99))
    magnitudes = [name for name in plain if name.endswith("dora_scale")]
    assert magnitudes
    for name in magnitudes:
        torch.testing.assert_close(averaged[name], plain[name], rtol=5e-3, atol=1e-4)


def test_a_schedule_free_optimizer_shows_its_average_and_goes_on_with_the_same_bits():
    schedulefree = pytest.importorskip("schedulefree")
    weight = torch.nn.Parameter(torch.ones(8))
    optimizer = schedulefree.AdamWScheduleFree([weight], lr=0.1)
    optimizer.train()
    averages = Averages([weight], OptimizerConfig(name="adamw_schedule_free"))
    for step in range(1, 6):
        weight.grad = torch.arange(1.0, 9.0) * step
        optimizer.step()
    own, held = weight.detach().clone(), optimizer.state[weight]["z"].clone()
    with averages.shown(optimizer):
        torch.testing.assert_close(own, 0.9 * weight.detach() + 0.1 * held)  # the paper's y = (1 - β) z + β x
        assert not optimizer.param_groups[0]["train_mode"]
    assert torch.equal(weight.detach(), own) and optimizer.param_groups[0]["train_mode"]


def test_a_file_says_of_what_it_is_an_average(tiny_backbone, dataset, tmp_path):
    told = []
    for name, settings in (("plain", {}), ("ema", WEIGHTS["ema_decay"])):
        path = trained(tiny_backbone, dataset, tmp_path / name, config(steps=1, **settings))
        with safe_open(path, "pt") as file:
            told.append(file.metadata().get("lora_bootstrap.weights"))
    assert told == [None, "EMA of the steps, decay 0.5"]


@pytest.mark.parametrize(("settings", "words"), [
    ({"optimizer.name": "adamw_schedule_free", "optimizer.ema_decay": 0.9}, "ema_decay .*averages its weights itself"),
    ({"method": "full", "optimizer.name": "adafactor", "optimizer.ema_decay": 0.9}, "ema_decay .*0 in a fine-tune"),
    ({"method": "full", "optimizer.name": "adafactor", "optimizer.max_norm": 1.0}, "max_norm .*0 in a fine-tune"),
    ({"adapter.kind": "loha", "optimizer.max_norm": 1.0}, "max_norm .*0 for adapter.kind loha"),
    ({"optimizer.name": "adamw_schedule_free", "optimizer.max_norm": 1.0}, "max_norm .*the limit does not reach"),
    ({"optimizer.ema_decay": 1.0}, "ema_decay"), ({"objective.min_timestep": 0.5, "objective.max_timestep": 0.5},
                                                  "max_timestep .*above min_timestep"),
    ({"objective.loss": "l3"}, "unknown loss 'l3'. Valid: huber"), ({"objective.huber_delta": 0.0}, "huber_delta")])
def test_what_cannot_be_is_refused_before_any_work(settings, words):
    with pytest.raises(UserError, match=words):
        config(**settings)


# -- the limit of a layer ----------------------------------------------------------------------------------------------


def test_a_layer_above_the_limit_is_scaled_down_to_it_and_others_are_left_unchanged():
    large = Factors(torch.randn(4, 6, 3, 3), torch.randn(5, 4, 1, 1), alpha=2.0)
    small = Factors(torch.full((4, 6), 0.01), torch.full((5, 4), 0.01), alpha=4.0)
    direction, kept = large.up.flatten(1) @ large.down.flatten(1), small.up.clone()
    limit_norms([large, small], 0.5)
    added = 2.0 / 4 * large.up.flatten(1) @ large.down.flatten(1)
    assert added.norm().item() == pytest.approx(0.5, rel=1e-5)
    torch.testing.assert_close(added / added.norm(), direction / direction.norm())
    assert torch.equal(small.up, kept)


def test_no_layer_of_a_trained_lora_is_above_the_limit(tiny_backbone, dataset, tmp_path):
    norms = []
    for name, limit in (("plain", 0.0), ("limited", 1e-3)):
        path = trained(tiny_backbone, dataset, tmp_path / name, config(**{"optimizer.max_norm": limit}))
        norms.append(max((module.alpha / module.rank * module.up.flatten(1) @ module.down.flatten(1)).norm().item()
                         for module in load_lora(path).modules.values()))
    assert norms[0] > 2e-3 and norms[1] == pytest.approx(1e-3, rel=1e-3)


# -- the average of checkpoints ----------------------------------------------------------------------------------------


def test_the_last_checkpoints_are_averaged_into_a_file_beside_them(tiny_backbone, dataset, tmp_path):
    trained(tiny_backbone, dataset, tmp_path, config(save_every=1))
    run = read_run(tmp_path / "tiny")
    averaged = average_checkpoints(run, last=3)
    assert averaged.steps == (2, 3, 4) and averaged.path.name == "tiny-average000002-000004.safetensors"
    parts, found = [load_file(path) for _, path in run.checkpoints()[-3:]], load_file(averaged.path)
    for key, value in found.items():
        torch.testing.assert_close(value, sum(part[key] for part in parts) / 3)
    assert not same(found, parts[-1]) and run.averages() == [(4, averaged.path)]
    with safe_open(averaged.path, "pt") as file:
        metadata = file.metadata()
    lineage = json.loads(metadata["lora_bootstrap.lineage"])
    assert lineage["dataset"] == dataset.fingerprint and [row["step"] for row in lineage["average"]] == [2, 3, 4]
    assert metadata["lora_bootstrap.weights"] == "average of the checkpoints at steps 2, 3, 4"
    assert "ss_steps" not in metadata, "a sweep names it by its file, not by a step"
    again = average_checkpoints(run, last=3)
    assert again.reused and again.path == averaged.path
    chosen = average_checkpoints(run, files=[run.checkpoint_path(2), run.final_path])
    assert chosen.steps == (2, 4) and chosen.path.name == "tiny-average000002-000004-2.safetensors"
    assert [path for _, path in run.averages()] == sorted((averaged.path, chosen.path))
    assert len(run.checkpoints()) == 4
    with pytest.raises(UserError, match="two or more checkpoints, but of the 4 of run 'tiny' 1 would be averaged"):
        average_checkpoints(run, last=1)
    with pytest.raises(UserError, match="is not a checkpoint of run 'tiny'. Only checkpoints of one run"):
        average_checkpoints(run, files=[averaged.path, run.final_path])
