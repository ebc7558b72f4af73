import math

import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.families import FAMILIES
from lora_bootstrap.trainer.models.noise import DiscreteSchedule, mix, per_row
from lora_bootstrap.trainer.training.objectives import (
    DENSITIES,
    HUBER_SCHEDULES,
    LOSSES,
    OBJECTIVES,
    WEIGHTINGS,
    Loss,
    ObjectiveConfig,
)
from lora_bootstrap.trainer.training.step.draws import draw_batch

T = torch.tensor([0.05, 0.3, 0.5, 0.7, 0.95])


def stable_diffusion_schedule():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return DiscreteSchedule((1 - betas).cumprod(0))


class FlowSchedule:
    """The straight path of rectified flow: x_t = (1 - t)·x0 + t·noise."""

    def coefficients(self, t):
        return 1 - t, t


def schedule_of(objective):
    return FlowSchedule() if objective == "flow" else stable_diffusion_schedule()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_right_answer_gives_back_the_clean_latents(name):
    """x0 recovered from the target, by the algebra of each paper, is the x0 that went in."""
    schedule = schedule_of(name)
    x0, noise = torch.randn(5, 4, 8, 8, dtype=torch.float64), torch.randn(5, 4, 8, 8, dtype=torch.float64)
    alpha, sigma = (per_row(c.double(), x0) for c in schedule.coefficients(T))
    noisy, target = alpha * x0 + sigma * noise, OBJECTIVES[name].target(x0, noise, alpha, sigma)
    recovered = {
        "eps": lambda: (noisy - sigma * target) / alpha,
        "v": lambda: alpha * noisy - sigma * target,
        "flow": lambda: noisy - sigma * target,
    }[name]()
    # alpha² + sigma² = 1 holds to float32 only
    torch.testing.assert_close(recovered, x0, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_x0_gain_turns_a_prediction_error_into_an_x0_error(name):
    schedule = schedule_of(name)
    alpha, sigma = schedule.coefficients(T)
    gain = OBJECTIVES[name].x0_gain(alpha, sigma)
    expected = {"eps": sigma / alpha, "v": sigma, "flow": T}[name]
    torch.testing.assert_close(gain, expected)


def test_min_snr_is_the_published_weight_for_eps_and_v():
    """2303.09556: min(snr, γ)/snr for eps; for v, min(snr, γ)/(snr + 1)."""
    alpha, sigma = stable_diffusion_schedule().coefficients(T)
    snr = alpha**2 / sigma**2
    capped = snr.clamp(max=5.0)
    torch.testing.assert_close(WEIGHTINGS["min_snr"](alpha, sigma, OBJECTIVES["eps"], 5.0), capped / snr)
    torch.testing.assert_close(WEIGHTINGS["min_snr"](alpha, sigma, OBJECTIVES["v"], 5.0), capped / (snr + 1))


def test_the_schedule_is_that_of_diffusers():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    ours = DiscreteSchedule(scheduler.alphas_cumprod)
    latents, noise = torch.randn(5, 4, 8, 8), torch.randn(5, 4, 8, 8)
    torch.testing.assert_close(mix(ours, latents, noise, T), scheduler.add_noise(latents, noise, ours.timesteps(T)))
    assert ours.timesteps(torch.tensor([0.0, 0.9995, 1.0])).tolist() == [0, 999, 999]


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_keep_order_and_stay_in_the_unit_interval(name):
    u = torch.linspace(0.001, 0.999, 999)
    t = DENSITIES[name](u, ObjectiveConfig())
    assert (t.diff() > 0).all() and t.min() >= 0 and t.max() <= 1


def test_density_medians_are_those_of_their_formulas():
    half = torch.tensor([0.5])
    assert DENSITIES["uniform"](half, ObjectiveConfig()).item() == 0.5
    assert DENSITIES["logit_normal"](half, ObjectiveConfig()).item() == pytest.approx(0.5)
    assert DENSITIES["shifted"](half, ObjectiveConfig(density_shift=3.0)).item() == pytest.approx(0.75)
    quarter = DENSITIES["logit_normal"](torch.tensor([0.158655]), ObjectiveConfig()).item()
    assert quarter == pytest.approx(torch.sigmoid(torch.tensor(-1.0)).item(), abs=1e-4)  # one sigma below


def test_a_perfect_prediction_has_no_loss_and_a_config_overrides_the_family():
    family = FAMILIES["sandbox"]
    loss = Loss.of(family, stable_diffusion_schedule(), ObjectiveConfig(weighting="none"))
    x0, noise = torch.randn(5, 4, 4, 4), torch.randn(5, 4, 4, 4)
    alpha, sigma = (per_row(c, x0) for c in loss.schedule.coefficients(T))
    target = OBJECTIVES[family.objective].target(x0, noise, alpha, sigma)
    assert loss.per_sample(target, x0, noise, T).max() == 0
    torch.testing.assert_close(loss.per_sample(target + 2, x0, noise, T), torch.full((5,), 4.0))
    assert Loss.of(family, loss.schedule, ObjectiveConfig()).weighting == family.weighting != "none"


def test_debiased_is_kohyas_weight_for_eps_and_v():
    """1/sqrt(SNR) for eps, 1/(SNR + 1) for v, with the SNR at most 1000."""
    alpha, sigma = stable_diffusion_schedule().coefficients(torch.tensor([0.0, 0.3, 0.9]))
    snr = (alpha / sigma).pow(2)
    assert snr[0] > 1000 > snr[1]
    capped = snr.clamp(max=1000)
    torch.testing.assert_close(WEIGHTINGS["debiased"](alpha, sigma, OBJECTIVES["eps"], 5.0), 1 / capped.sqrt())
    torch.testing.assert_close(WEIGHTINGS["debiased"](alpha, sigma, OBJECTIVES["v"], 5.0), 1 / (capped + 1))


def test_huber_losses_are_squares_of_small_errors_and_grow_evenly_with_large_ones():
    delta = torch.tensor([0.1])
    small, large = torch.tensor([1e-3]), torch.tensor([100.0])
    assert LOSSES["huber"](small, delta).item() == pytest.approx(1e-6, rel=1e-2)
    assert LOSSES["huber"](large, delta).item() == pytest.approx(2 * 0.1 * (math.hypot(100, 0.1) - 0.1), rel=1e-4)
    assert LOSSES["smooth_l1"](large, delta).item() == pytest.approx(2 * (math.hypot(100, 0.1) - 0.1), rel=1e-4)
    assert LOSSES["squared"](large, delta).item() == 10_000


def test_huber_delta_follows_the_time_as_its_schedule_says():
    alpha, sigma = stable_diffusion_schedule().coefficients(T)
    found = {name: schedule(0.1, T, alpha, sigma) for name, schedule in HUBER_SCHEDULES.items()}
    torch.testing.assert_close(found["constant"], torch.full((5,), 0.1))
    torch.testing.assert_close(found["exponential"], torch.exp(math.log(0.1) * T))
    torch.testing.assert_close(found["snr"], 0.9 / (1 + sigma / alpha) ** 2 + 0.1)


def test_times_stay_between_the_bounds_and_the_density_keeps_its_shape():
    settings = ObjectiveConfig(min_timestep=0.2, max_timestep=0.7, timestep_density="logit_normal")
    loss = Loss.of(FAMILIES["sd15"], stable_diffusion_schedule(), settings)
    u = torch.linspace(0.001, 0.999, 999)
    torch.testing.assert_close(loss.times(u), 0.2 + 0.5 * DENSITIES["logit_normal"](u, settings))


def draw(**settings):
    loss = Loss.of(FAMILIES["sd15"], stable_diffusion_schedule(), ObjectiveConfig(**settings))
    return draw_batch(loss, seed=3, index=7, shape=(2, 4, 64, 64))


def test_an_offset_is_one_number_for_each_channel_and_leaves_the_rest_of_the_draw_unchanged():
    plain, offset = draw(), draw(noise_offset=0.1)
    added = offset.noise - plain.noise
    torch.testing.assert_close(added, added[..., :1, :1].expand_as(added), atol=1e-6, rtol=0)
    assert len(added[..., 0, 0].unique()) == 8 and 0.02 < added[..., 0, 0].std() < 0.25
    assert torch.equal(plain.t, offset.t) and torch.equal(offset.added, offset.noise)
    assert torch.equal(draw(noise_offset=0.1).noise, offset.noise), "a function of seed and index alone"


def test_perturbed_input_has_more_noise_than_the_network_is_to_recognise():
    plain, perturbed = draw(), draw(ip_noise_gamma=0.2)
    assert torch.equal(plain.noise, perturbed.noise) and torch.equal(plain.t, perturbed.t)
    assert (perturbed.added - perturbed.noise).std().item() == pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize(("settings", "words"), [
    ({"weighting": "debiased"}, "weighting is debiased, but .* flow model: .* Set weighting to none or min_snr"),
    ({"loss": "huber", "huber_schedule": "snr"}, "huber_schedule is snr, .* Set huber_schedule to constant or"),
    ({"noise_offset": 0.1}, "noise_offset is 0.1, .* Set noise_offset to 0")])
def test_what_has_no_meaning_for_a_flow_model_is_refused(settings, words):
    with pytest.raises(UserError, match=words):
        Loss.of(FAMILIES["flux"], FlowSchedule(), ObjectiveConfig(**settings))
    Loss.of(FAMILIES["sd15"], stable_diffusion_schedule(), ObjectiveConfig(**settings))
