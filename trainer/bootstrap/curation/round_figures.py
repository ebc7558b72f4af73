"""A round's figures, and the alarm that stops a loop which drifts, burns or draws the same image again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...measures import pixels as metrics
from ...measures.eyes import Likeness
from ...measures.likeness import likeness_to
from .curate import Decision


@dataclass(frozen=True)
class RoundFigures:
    """A round's drift alarms (science: reference section 2). None means not measured.

    Attributes:
        kept: how many images the figures are of.
        drift: D, 1 - cosine between the mean of the kept images and the mean of the original crops.
        diversity: V, mean scene distance between kept images; base_diversity: V of the base's own images.
        burn: burn level of the kept images, as robust z over the base's own.
        likeness: mean likeness of the kept images to the original crops.
        real_share: share of the original crops among the round's training samples, counting repeats.
        proposed: whether the images are not kept yet, but proposed: not enough were picked by hand.
        base_likeness: mean likeness of the base's own images for her tags, without a LoRA and without the trigger.
        drawn_likeness: mean likeness of all candidates, as they were drawn.
        mark: mean share of what only the original shows, in the kept images; drawn_mark: the same in all candidates.
    """

    round: int
    kept: int
    candidates: int
    drift: float | None
    diversity: float
    base_diversity: float | None
    burn: float | None
    likeness: float | None
    tag_recall: float | None
    real_share: float
    proposed: bool = False
    base_likeness: float | None = None
    drawn_likeness: float | None = None
    mark: float | None = None
    drawn_mark: float | None = None

    @property
    def known_before(self) -> str:
        """What the base knew of her without a LoRA, beside what was drawn with it; "" if it was not measured."""
        if self.base_likeness is None or self.drawn_likeness is None:
            return ""
        return (f"The base's own images for her tags: likeness {self.base_likeness:.2f}. Round {self.round}: "
                f"{self.drawn_likeness:.2f} as drawn"
                + ("." if self.likeness is None else f", {self.likeness:.2f} as kept."))


def round_figures(number: int, chosen: Sequence[Decision], drawn: Sequence[Decision], kept: Tensor, anchors: Tensor,
                  reference: Tensor | None, eye: Likeness | None, real_share: float,
                  proposed: bool = False, edited: Sequence[bool] = ()) -> RoundFigures:
    """Figures of round `number`, from its kept (or proposed) images [K, 3, H, W], the decisions on them [K], and those
    on all candidates.

    Args:
        edited: which of the kept images were drawn from an image. They are not compared with the base's own; if all
            were, what is compared with these is not measured.
    """
    some = len(kept) > 0
    drawn_by_prompt = kept[[not each for each in edited]] if edited else kept
    compared = None if edited and not len(drawn_by_prompt) else reference

    def mean(name: str, decisions: Sequence[Decision] = chosen) -> float | None:
        values = [decision.scores[name] for decision in decisions if name in decision.scores]
        return round(sum(values) / len(values), 4) if values else None

    return RoundFigures(
        round=number, kept=len(kept), candidates=len(drawn),
        drift=round(metrics.cosine_drift(eye.embed(kept), eye.embed(anchors)), 4) if eye and some else None,
        diversity=round(metrics.diversity(metrics.scene_embedding(kept)), 4) if some else 0.0,
        base_diversity=None if compared is None else round(metrics.diversity(metrics.scene_embedding(compared)), 4),
        burn=round(metrics.burn_level(drawn_by_prompt, compared), 4) if compared is not None and some else None,
        likeness=mean("likeness"), tag_recall=mean("tag_recall"), real_share=round(real_share, 4),
        mark=mean("mark"), drawn_mark=mean("mark", drawn), proposed=proposed, drawn_likeness=mean("likeness", drawn),
        base_likeness=None if eye is None or reference is None else round(
            likeness_to(eye.embed(reference), eye.embed(anchors)).mean().item(), 4),
    )


def alarm(rounds: Sequence[RoundFigures], wanted: int) -> str:
    """Why the loop should stop growing the dataset after the last of these rounds, or "" if all is well."""
    last = rounds[-1]
    if last.kept < max(2, wanted // 4):
        return f"only {last.kept} of the {wanted} images wanted were good enough"
    if last.burn is not None and last.burn > 3:
        return f"the images are burnt (burn {last.burn:.1f}, limit 3)"
    if last.base_diversity and last.diversity < 0.7 * last.base_diversity:
        return (f"the images have become too alike (diversity {last.diversity:.2f}, "
                f"limit 0.7 x {last.base_diversity:.2f})")
    drifts = [figures.drift for figures in rounds[-3:] if figures.drift is not None]
    if len(drifts) == 3 and drifts[2] > drifts[1] > drifts[0]:
        return f"the likeness drifted from the original two rounds in a row ({drifts[0]:.2f} to {drifts[2]:.2f})"
    if len(drifts) >= 2 and drifts[-1] > drifts[-2] + 0.1:
        return f"the likeness drifted from the original ({drifts[-2]:.2f} to {drifts[-1]:.2f} in one round)"
    return ""
