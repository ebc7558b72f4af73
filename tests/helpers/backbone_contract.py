"""What every Backbone must keep, as tests over a fixture `backbone` and a fixture `dataset` of pictures of 64 px.

Not collected by itself: a test module imports everything in here and says what its backbones are.
"""

import contextlib

import pytest
import torch

from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, load_lora, save_lora
from lora_bootstrap.trainer.models.backbone import Backbone, Conditioning
from lora_bootstrap.trainer.models.noise import per_row
from lora_bootstrap.trainer.training import adapters
from lora_bootstrap.trainer.training.config import AdapterConfig, TrainConfig
from lora_bootstrap.trainer.training.events import Finished, StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.objectives import OBJECTIVES, Loss

SHORT, LONG = "red, disc", "a blue disc, in the middle of a large white picture"


def a_batch(backbone, captions=(SHORT, LONG, "green")):
    """(noisy latents, times, conditioning), a row for each caption."""
    generator = torch.Generator().manual_seed(1)
    shape = backbone.encode_images(torch.zeros(1, 3, 64, 64)).shape[1:]
    t = torch.linspace(0.15, 0.85, len(captions))
    latents, noise = (torch.randn(len(captions), *shape, generator=generator) for _ in range(2))
    return backbone.noised(latents, noise, t), t, backbone.encode_text(captions)


def settings(backbone, **changes):
    return TrainConfig(name="contract", steps=4).replace(**{
        "adapter.rank": 2, "adapter.alpha": 2.0, "data.batch_size": 2, "data.upscale": True,
        "data.resolution": max(64, 2 * backbone.family.bucket_step), "optimizer.learning_rate": 1e-2, **changes})


@torch.no_grad()
def test_a_backbone_has_the_contracts_verbs_and_facts(backbone):
    assert isinstance(backbone, Backbone)
    assert backbone.family.objective in OBJECTIVES
    assert backbone.fingerprint == backbone.fingerprint != ""


@torch.no_grad()
def test_pictures_become_latents_and_latents_pictures(backbone):
    pixels = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    latents = backbone.encode_images(pixels)
    assert latents.dtype == torch.float32 and len(latents) == 2 and latents.shape[1] == backbone.family.latent_channels
    assert 64 // latents.shape[-2] == 96 // latents.shape[-1]
    assert torch.equal(latents, backbone.encode_images(pixels))  # deterministic, so that it can be cached
    torch.testing.assert_close(latents[1:], backbone.encode_images(pixels[1:]), atol=1e-4, rtol=1e-3)
    pictures = backbone.decode(latents)
    assert pictures.shape == pixels.shape and pictures.min() >= 0 and pictures.max() <= 1


def test_noise_grows_with_time(backbone):
    signal, noise = backbone.schedule.coefficients(torch.linspace(0, 1, 21))
    assert (signal.diff() <= 0).all() and (noise.diff() >= 0).all()
    assert signal[0] > 0.9 and noise[0] < 0.2 and signal[-1] < 0.2 and noise[-1] > 0.9


@torch.no_grad()
def test_a_caption_has_a_row_that_can_be_picked_joined_and_stored(backbone):
    both = backbone.encode_text([SHORT, LONG])
    assert isinstance(both, Conditioning) and len(both) == 2
    joined = Conditioning.cat([backbone.encode_text([LONG]), backbone.encode_text([SHORT])])
    for row in (0, 1):
        for name, tensor in joined.row(row).items():
            torch.testing.assert_close(tensor, both.rows([1 - row]).row(0)[name], atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_each_row_of_a_batch_is_what_it_is_alone(backbone):
    noisy, t, conditioning = a_batch(backbone)
    together = backbone.predict(noisy, t, conditioning)
    assert together.shape == noisy.shape and together.isfinite().all()
    for row in range(len(noisy)):
        alone = backbone.predict(noisy[row : row + 1], t[row : row + 1], conditioning.rows([row]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-3)
    swapped = backbone.predict(noisy, t, conditioning.rows([1, 0, 2]))
    assert (swapped - together)[:2].abs().amax() > 1e-4 and torch.allclose(swapped[2], together[2], atol=1e-4)


def test_at_batch_three_the_network_sees_three_rows(backbone):
    with torch.no_grad():
        noisy, t, conditioning = a_batch(backbone)
    seen = []
    hook = backbone.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(args[0] if args else kwargs["sample"])), with_kwargs=True)
    with torch.no_grad(), contextlib.ExitStack() as stack:
        stack.callback(hook.remove)
        backbone.predict(noisy, t, conditioning)
    assert sum(seen) == 3


def test_a_generated_picture_depends_on_its_own_prompt_and_seed_alone(backbone):
    size = {"width": 64, "height": 64, "steps": 3, "cfg": 3.0}
    both = backbone.generate([SHORT, LONG], seeds=[5, 6], **size)
    assert both.shape == (2, 3, 64, 64)
    torch.testing.assert_close(both[1:], backbone.generate([LONG], seeds=[6], **size), atol=1e-3, rtol=1e-2)
    assert (both[1:] - backbone.generate([LONG], seeds=[7], **size)).abs().max() > 1e-3


def test_a_loras_strength_may_change_before_each_step_of_a_picture(backbone, tmp_path):
    size, told = {"seeds": [5], "width": 64, "height": 64, "steps": 2, "cfg": 1.0}, []

    def drawn(*strengths):
        def at_step(done):
            told.append(done)
            lora.set_strength(strengths[round(2 * done)])

        with backbone.lora(path) as lora:
            return backbone.generate([SHORT], at_step=at_step, **size)

    path = a_lora(backbone, tmp_path / "random.safetensors")
    with backbone.lora(path, 1.0):
        throughout = backbone.generate([SHORT], **size)
    torch.testing.assert_close(drawn(1.0, 1.0), throughout, atol=1e-4, rtol=1e-3)
    assert told == [0, 0.5]
    late, early = drawn(0.0, 1.0), drawn(1.0, 0.0)
    assert min((late - throughout).abs().max(), (early - throughout).abs().max(), (late - early).abs().max()) > 1e-3


def test_tokens_are_counted_without_marks(backbone):
    assert backbone.token_count("") == (0, 0)
    assert backbone.token_count(SHORT)[0] < backbone.token_count(LONG)[0]


def gradients(backbone, checkpointing):
    """Of a LoRA that is not at its start, by parameter."""
    with torch.no_grad():  # as the feed encodes
        inputs = a_batch(backbone)
    with backbone.training(checkpointing):
        handle = adapters.attach(backbone.network, AdapterConfig(rank=2), backbone.family.blocks, 0)
        for number, parameter in enumerate(handle.parameters()):
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) / 9)
        try:
            with backbone.step():
                backbone.predict(*inputs).pow(2).mean().backward()
            return [parameter.grad for parameter in handle.parameters() if parameter.grad is not None]
        finally:
            handle.detach()


def test_gradients_reach_the_adapters_and_checkpointing_does_not_change_them(backbone):
    plain, recomputed = gradients(backbone, False), gradients(backbone, True)
    assert len(plain) == len(recomputed) > 4
    assert sum(gradient.abs().max() > 0 for gradient in plain) > len(plain) // 2
    for one, other in zip(plain, recomputed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_training_leaves_the_network_as_it_was(backbone):
    def state():
        network = backbone.network
        return ([(name, type(module), len(module._forward_hooks), module.training)
                 for name, module in network.named_modules()],
                [(name, p.requires_grad) for name, p in network.named_parameters()])

    before = state()
    with torch.no_grad():
        noisy, t, conditioning = a_batch(backbone)
        plain = backbone.predict(noisy, t, conditioning)
    gradients(backbone, True)
    with pytest.raises(ZeroDivisionError), backbone.training(True):
        _ = 1 / 0
    assert state() == before
    with torch.no_grad():
        assert torch.equal(backbone.predict(noisy, t, conditioning), plain)


def test_a_lora_trains_and_applies_from_its_file_as_it_was_trained(backbone, dataset, tmp_path):
    with torch.no_grad():
        noisy, t, conditioning = a_batch(backbone)
    config = settings(backbone)
    for event in train(backbone, dataset, config, tmp_path):
        if isinstance(event, StepDone) and event.step == config.steps:
            with torch.no_grad():
                trained = backbone.predict(noisy, t, conditioning).clone()
    assert isinstance(event, Finished)
    with torch.no_grad():
        plain = backbone.predict(noisy, t, conditioning)
        with backbone.lora(event.path) as lora:
            assert tuple(lora.unmatched) == ()
            applied = backbone.predict(noisy, t, conditioning).clone()
            lora.set_strength(0.0)
            without = backbone.predict(noisy, t, conditioning).clone()
        after = backbone.predict(noisy, t, conditioning)
    assert (trained - plain).abs().max() > 1e-3
    torch.testing.assert_close(applied, trained, atol=1e-3 * trained.abs().max().item(), rtol=1e-3)
    torch.testing.assert_close(without, plain, atol=1e-4, rtol=1e-3)
    assert torch.equal(after, plain)


@torch.no_grad()
def test_the_own_sampling_path_predicts_what_training_predicts(backbone):
    captions = ("red (disc), [soft]", "")
    noisy, t, _ = a_batch(backbone, captions)
    ours = torch.cat([backbone.predict(noisy[row : row + 1], t[row : row + 1], backbone.encode_text([captions[row]]))
                      for row in range(2)])
    theirs = backbone.sampling_prediction(noisy, t, captions)
    assert ((theirs - ours).norm() / ours.norm()).item() < 1e-4
    torch.testing.assert_close(backbone.sampling_prediction(noisy[:1], t[:1], captions[0]), theirs[:1])
    other = backbone.sampling_prediction(noisy[:1], t[:1], captions[1])
    assert (other - theirs[:1]).abs().max() > 1e-4


@torch.no_grad()
def test_what_training_and_sampling_are_conditioned_on_has_the_same_names_and_values(backbone):
    noisy, _, conditioning = a_batch(backbone, (SHORT,))
    ours, theirs = backbone.training_inputs(noisy, conditioning), backbone.sampling_inputs(noisy, SHORT)
    for mine, others in ((ours.encoded, theirs.encoded), (ours.given, theirs.given)):
        assert mine.keys() == others.keys()
        for name, tensor in mine.items():
            torch.testing.assert_close(tensor.float(), others[name].float().to(tensor.device), atol=1e-4, rtol=1e-3)
    assert ours.encoded


@torch.no_grad()
def test_a_lora_file_by_the_own_loader_predicts_as_by_ours(backbone, tmp_path):
    path = a_lora(backbone, tmp_path / "random.safetensors")
    noisy, t, conditioning = a_batch(backbone, (SHORT,))
    before = backbone.sampling_prediction(noisy, t, SHORT)
    with backbone.lora(path):
        ours = backbone.predict(noisy, t, conditioning)
    with backbone.sampling_lora(path) as loaded:
        assert tuple(loaded.unmatched) == () and loaded.layers == len(load_lora(path).modules)
        theirs = backbone.sampling_prediction(noisy, t, SHORT)
    assert ((theirs - ours).norm() / (ours - before).norm()).item() < 1e-3
    assert torch.equal(backbone.sampling_prediction(noisy, t, SHORT), before)


def a_lora(backbone, path):
    """A LoRA file of the network's attention, with random weights."""
    handle = adapters.attach(backbone.network, AdapterConfig(rank=2, alpha=2.0), backbone.family.blocks, 0)
    try:
        weights = {f"{backbone.network_prefix}.{name}": Factors(
            factors.down, torch.randn(factors.up.shape, generator=torch.Generator().manual_seed(number)), factors.alpha)
            for number, (name, factors) in enumerate(handle.weights().items())}
    finally:
        handle.detach()
    save_lora(path, LoraWeights(weights), key_style=backbone.key_style)
    return path


def test_a_lora_changes_the_prediction_by_its_strength_and_only_while_its_block_lasts(backbone, tmp_path):
    path = a_lora(backbone, tmp_path / "random.safetensors")
    with torch.no_grad():
        noisy, t, conditioning = a_batch(backbone)

        def predicted():
            return backbone.predict(noisy, t, conditioning).clone()

        plain = predicted()
        with backbone.lora(path, 0.0) as lora:
            at_0 = predicted()
            lora.set_strength(0.5)
            at_half = predicted()
            lora.set_strength(1.0)
            at_1 = predicted()
            lora.set_strength(0.0)
            at_0_again = predicted()
        with backbone.lora(path) as lora:
            assert tuple(lora.unmatched) == ()
            torch.testing.assert_close(predicted(), at_1, atol=1e-5, rtol=1e-4)
        with pytest.raises(ZeroDivisionError), backbone.lora(path):
            _ = 1 / 0
        after = predicted()
    torch.testing.assert_close(at_0, plain, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(at_0_again, plain, atol=1e-5, rtol=1e-4)
    assert (at_1 - plain).abs().max() > 1e-3 and (at_half - at_1).abs().max() > 1e-4
    assert (at_half - plain).abs().max() > 1e-4
    assert torch.equal(after, plain)


def test_a_stopped_run_goes_on_to_the_same_bits(backbone, dataset, tmp_path):
    config = settings(backbone)
    *_, whole = train(backbone, dataset, config, tmp_path / "whole")
    steps = iter(range(100))
    *_, half = train(backbone, dataset, config, tmp_path / "parts", should_stop=lambda: next(steps) == 1)
    assert half.stopped and half.step == 2
    *_, rest = train(backbone, dataset, config, tmp_path / "parts")
    ours, theirs = load_lora(rest.path).modules, load_lora(whole.path).modules
    assert ours.keys() == theirs.keys()
    for name, factors in ours.items():
        assert torch.equal(factors.down, theirs[name].down) and torch.equal(factors.up, theirs[name].up), name


@torch.no_grad()
def test_a_network_that_is_right_has_no_loss(backbone, monkeypatch):
    """The target of the loss is what the schedule and the objective say, at every time."""
    latents, noise = torch.randn(2, 5, backbone.family.latent_channels, 8, 8,
                                 generator=torch.Generator().manual_seed(3))
    t = torch.linspace(0.02, 0.98, 5)
    loss = Loss.of(backbone.family, backbone.schedule, settings(backbone).objective)
    alpha, sigma = (per_row(value, latents) for value in backbone.schedule.coefficients(t))
    right = loss.objective.target(latents, noise, alpha, sigma)
    assert loss.per_sample(right, latents, noise, t).max() == 0
