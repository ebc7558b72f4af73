"""Preservation without regularisation images: where the trigger is missing, the network is held to the base.

As in the "differential output preservation" of ai-toolkit: for the same noisy latents, but a prompt of the class, the
loss is the squared distance to what the base itself predicts, together with the LoRAs that are beside the training in
that step. It has a backward pass of its own, after the others of the step, so the memory of a LoRA's step does not
grow; a fine-tune holds all its gradients in between.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ...captions.tags import join_tags, split_tags
from ...common.events import Events
from ...models.backbone import Backbone, Conditioning
from ...models.devices import to_device
from ..config import TrainConfig
from ..feed import Batch, Draw, Feed, derived_seed
from ..objectives import Loss
from ..parallel.team import Share


class Predictor(Protocol):
    """What the preservation needs from a training session."""

    backbone: Backbone
    config: TrainConfig
    feed: Feed
    loss: Loss

    def predict(self, noisy: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """What the network as it is trained predicts."""

    def base_prediction(self, noisy: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """What it predicts without what is trained, but with the LoRAs beside it; no gradients."""


class Preservation:
    """The extra loss of a run, a pure function of the step and the weights."""

    def __init__(self, session: Predictor) -> None:
        self._session, self._settings = session, session.config.preservation

    def is_due(self, step: int) -> bool:
        """Whether the step, counted from 0, preserves."""
        return self._settings.weight > 0 and step % self._settings.every == 0

    def prepare(self, batches: range) -> Events:
        """Encode the prompts of those batches, so that no text encoder is needed in a step."""
        feed, config = self._session.feed, self._session.config
        if self._settings.weight and not feed.trains_text:
            yield from feed.prepare_texts(draw._replace(caption=prompt) for draw in feed.draws_of(batches)
                                          for prompt in preserved_prompts(config, draw.caption))

    def loss(self, step: int, share: Share) -> Tensor:
        """The weighted mean distance to the base's prediction, over the latents of the step's last batch; what a share
        of them adds to it. Noise and times are draws of their own."""
        session, index = self._session, self._batch_of(step)
        batch = self._batch(index, share)
        generator = torch.Generator().manual_seed(derived_seed(session.config.seed, "preservation", step))
        noise = share.of(torch.randn((share.count, *batch.latents.shape[1:]), generator=generator))
        t = share.of(session.loss.times(torch.rand(share.count, generator=generator)))
        device = session.backbone.device
        noisy = session.backbone.noised(to_device(batch.latents, device), to_device(noise, device), t)
        base = session.base_prediction(noisy, t, batch).float()
        weight = self._settings.weight * share.fraction
        return weight * (session.predict(noisy, t, batch).float() - base).square().mean()

    def _batch_of(self, step: int) -> int:
        """Index of the step's last batch."""
        return (step + 1) * self._session.config.accumulation_steps - 1

    def _batch(self, index: int, share: Share) -> Batch:
        """A share of the batch, with the prompts that are preserved in place of its captions."""
        feed, draws = self._session.feed, share.of(self._draws(index))
        rows = [] if feed.trains_text else [feed.row(draw.caption, draw.sample, draw.flip) for draw in draws]
        return replace(feed.batch(index, share), captions=tuple(draw.caption for draw in draws), masks=None,
                       conditioning=Conditioning.cat(rows) if rows else None)

    def _draws(self, index: int) -> list[Draw]:
        config = self._session.config
        rng = random.Random(derived_seed(config.seed, "preservation", "prompts", index))
        return [draw._replace(caption=rng.choice(preserved_prompts(config, draw.caption)))
                for draw in self._session.feed.draws(index)]


def preserved_prompts(config: TrainConfig, caption: str) -> tuple[str, ...]:
    """The prompts for which the base is kept, instead of a caption: the one of the settings, or else the blank prompt
    and the caption without the trigger. Without a trigger, the whole caption is what is learnt."""
    if config.preservation.prompt or not config.data.trigger:
        return (config.preservation.prompt,)
    return tuple(dict.fromkeys(("", remove_trigger(caption, config.data.trigger))))


def remove_trigger(caption: str, trigger: str) -> str:
    """The caption without the words of the trigger, in any case, also inside of a sentence."""
    for word in split_tags(trigger):
        caption = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "", caption, flags=re.IGNORECASE)
    return join_tags([" ".join(tag.split()) for tag in split_tags(caption)])
