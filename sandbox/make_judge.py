"""Trains the judge on drawings with and without signatures, degraded so that it also reads generated images well.

Drawings are blurred, noised and sent through the VAE, as a diffusion model's images are. The likeness embedding
learns by a supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362) against near twins.
"""
from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from . import JUDGE_FILE
from .dataset import render
from .judge import HEADS, Judge, label, load_judge
from .workshop import Workshop, autocast, to_pixels
from .world import (
    ATTRIBUTES,
    IDENTITY,
    SIGNATURE_COLORS,
    Character,
    Scene,
    Signature,
    is_held_out,
    sample_character,
    sample_scene,
    with_signature,
)

GROUPS, GROUP = 6000, 4
BATCH_GROUPS, RATE = 16, 3e-3
ROUNDTRIPS = 5000
TEMPERATURE, LIKENESS_WEIGHT = 0.1, 0.2


def twin(rng: random.Random, character: Character) -> Character:
    """A character that differs from `character` in only one identity attribute, or only in its signature."""
    while True:
        if rng.random() < 0.4:
            changed = _other_signature(rng, character)
        else:
            name = rng.choice(IDENTITY)
            values = dict(zip(IDENTITY, character.identity, strict=True)) | {name: rng.choice(ATTRIBUTES[name])}
            signature = character.signature
            if values["tail"] == "no tail" and signature and signature.kind == "two-coloured tail":
                continue
            changed = Character(**values, signature=signature)
        if changed != character and not is_held_out(changed):
            return changed


def _other_signature(rng: random.Random, character: Character) -> Character:
    if character.signature is None:
        return with_signature(rng, character)
    if rng.random() < 0.5:
        return Character(*character.identity)
    return Character(*character.identity, Signature(character.signature.kind, rng.choice(SIGNATURE_COLORS)))


def group_scenes(count: int, seed: int) -> list[Scene]:
    """`count` groups of four scenes: two of a character and two of its twin."""
    rng = random.Random(seed)
    scenes = []
    for _ in range(count):
        character = sample_character(rng, signature=rng.random() < 0.7)
        for one in (character, twin(rng, character)):
            scenes += [sample_scene(rng, one), sample_scene(rng, one)]
    return scenes


def blemish(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, tint and noise [B,3,64,64] in -1..1 by random amounts."""
    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    batch = len(x)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.lerp(x, blurred, rand(batch, 1, 1, 1) * (rand(batch, 1, 1, 1) < 0.5))
    x = x * (1 + 0.06 * (rand(batch, 1, 1, 1) - 0.5)) + 0.06 * (rand(batch, 3, 1, 1) - 0.5)
    return x + torch.randn(x.shape, generator=generator) * 0.12 * rand(batch, 1, 1, 1) ** 2


@torch.no_grad()
def roundtrip(vae: AutoencoderKL, x: torch.Tensor, generator: torch.Generator, noise: float) -> torch.Tensor:
    """x after a round trip through the VAE, with its latents disturbed by up to `noise` standard deviations."""
    out = []
    for part in x.split(100):
        with autocast():
            z = vae.encode(part).latent_dist.mean.float()
            amount = noise * torch.rand(len(z), 1, 1, 1, generator=generator) / vae.config.scaling_factor
            out.append(vae.decode(z + amount * torch.randn(z.shape, generator=generator)).sample.float().clamp(-1, 1))
    return torch.cat(out)


def likeness_loss(embeddings: torch.Tensor, who: torch.Tensor) -> torch.Tensor:
    """Supervised contrastive loss: images with the same `who` attract each other."""
    itself = torch.eye(len(who), dtype=torch.bool)
    similarity = (embeddings @ embeddings.T / TEMPERATURE).masked_fill(itself, -1e4)
    positive = (who[:, None] == who[None, :]) & ~itself
    log_share = similarity.log_softmax(1)
    return -(log_share * positive).sum(1).div(positive.sum(1).clamp(min=1)).mean()


def read_loss(judge: Judge, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the heads; targets are [B, heads], -1 where nothing is visible."""
    logits = judge.logits(features).values()
    losses = [F.cross_entropy(part, targets[:, k], ignore_index=-1)
              for k, part in enumerate(logits)]
    return torch.stack(losses).nanmean()


def labels(scenes: list[Scene]) -> torch.Tensor:
    return torch.tensor([[label(scene, head) for head in HEADS] for scene in scenes])


def train_judge(shop: Workshop, steps: int) -> None:
    """Train the judge. If one exists, it continues to learn, from other draws."""
    again = JUDGE_FILE.exists()
    torch.manual_seed(21 + again)
    generator = torch.Generator().manual_seed(21 + again)
    scenes = group_scenes(GROUPS, seed=21)
    pixels = to_pixels(shop.render(scenes, seed=21)).half()
    vae = AutoencoderKL.from_pretrained(shop.base / "vae").eval()
    path = shop.scratch / f"roundtrips-{ROUNDTRIPS}-{vae.config.scaling_factor}.pt"
    if not path.exists():
        torch.save(roundtrip(vae, pixels[:ROUNDTRIPS].float(), generator, noise=0.3).half(), path)
    decoded = torch.load(path)
    shop.log("judge", drawings=len(pixels), roundtrips=len(decoded))
    targets = labels(scenes)
    judge = (load_judge().requires_grad_(True) if again else Judge()).train()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.15)
    for step in range(1, steps + 1):
        x, index = _batch(pixels, decoded, generator)
        features = judge.features(blemish(x, generator) * 0.5 + 0.5)
        reading = read_loss(judge, features, targets[index])
        # Rows 0 and 1 of a group are one character, rows 2 and 3 its twin.
        likeness = likeness_loss(judge.likenesses(features), index // 2)
        (reading + LIKENESS_WEIGHT * likeness).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 100 == 0:
            shop.log("judge", step=step, reading=reading.item(), likeness=likeness.item())
    judge.eval()
    save_file({name: value.half() if value.is_floating_point() else value
               for name, value in judge.state_dict().items()}, JUDGE_FILE)
    shop.log("judge", **measure_judge(vae))


def _batch(pixels: torch.Tensor, decoded: torch.Tensor, generator: torch.Generator):
    # Half of the groups are those that were also sent through the VAE, and are shown in that form.
    half = BATCH_GROUPS // 2
    groups = torch.cat([torch.randint(len(pixels) // GROUP, (half,), generator=generator),
                        torch.randint(len(decoded) // GROUP, (half,), generator=generator)])
    index = (groups[:, None] * GROUP + torch.arange(GROUP)).flatten()
    cut = half * GROUP
    return torch.cat([pixels[index[:cut]], decoded[index[cut:]]]).float(), index


@torch.no_grad()
def measure_judge(vae: AutoencoderKL, groups: int = 500) -> dict[str, float]:
    """Accuracy per head on fresh drawings (plain and through the VAE), and the same-character AUC."""
    judge = load_judge()
    scenes = group_scenes(groups, seed=2024)
    pixels = to_pixels(render(scenes, seed=2024))
    decoded = roundtrip(vae, pixels, torch.Generator().manual_seed(0), noise=0.0)
    figures: dict[str, float] = {}
    targets = labels(scenes)
    for name, x in (("", pixels), ("_vae", decoded)):
        reading = judge.read(x * 0.5 + 0.5)
        for k, (head, part) in enumerate(reading.items()):
            seen = targets[:, k] >= 0
            figures[head + name] = (part.argmax(1) == targets[:, k])[seen].float().mean().item()
        figures.update({key + name: value for key, value in _likeness_figures(judge.embed(x * 0.5 + 0.5)).items()})
    return figures


def _likeness_figures(e: torch.Tensor) -> dict[str, float]:
    """The chance that an image is nearer to its own character than to another, and than to the twin."""
    groups = e.view(-1, GROUP, e.shape[1])
    same = (groups[:, 0] * groups[:, 1]).sum(1)
    near = (groups[:, 0] * groups[:, 2]).sum(1)
    other = (groups[:, 0] @ groups[:, 2].T)[~torch.eye(len(groups), dtype=torch.bool)]
    auc = (same[:, None] > other[None, :]).float().mean().item()
    return {"auc_other": auc, "auc_twin": (same[:, None] > near[None, :]).float().mean().item()}
