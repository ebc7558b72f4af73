"""What an audit finds wrong with an image: one table of figures, thresholds, and advice.

The thresholds were measured on drawings and photographs with planted faults: see bench.audit, and its table in
bench/results/audit.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..captions.coverage import plain, says, several_people
from ..captions.coverage_words import LETTERING_WORDS
from ..common.errors import UserError
from ..datasets.buckets import assign_bucket, make_buckets
from ..datasets.dataset import Sample, hidden_by_ground
from ..models.families import Family
from .figures import Figures

SEVERITIES = ("fault", "warning", "note")
"""fault: leave the image out or fix it; warning: look at it; note: good to know."""


@dataclass(frozen=True)
class Finding:
    """One thing found in one image.

    Attributes:
        code: a key of `CODES`.
        severity: one of SEVERITIES.
        value, threshold: what was measured, and from which value on it counts; None if nothing was measured.
        text: what it means and what to do, on one line.
    """

    code: str
    severity: str
    value: float | None
    threshold: float | None
    text: str


CODES: Mapping[str, str] = {
    "unreadable": "cannot be read",
    "duplicate": "copy of another image", "small": "smaller than what is trained on", "shape": "very long or wide",
    "blur": "blurred", "dark": "under-exposed", "bright": "washed out", "blown": "highlights or shadows lost",
    "hidden": "hidden by its background", "burn": "burnt: colours at their limits", "blocking": "JPEG blocks",
    "border": "bars around it",
    "lettering": "text or watermark", "several people": "several people", "cast": "colours of another light",
    "covered face": "covered face", "cropped head": "without a head", "cropped limbs": "cropped limbs",
    "hard shadow": "hard shadow", "skin tone": "another skin tone", "date": "taken years from the others",
    "lens": "phone or wide lens",
    "other look": "unlike the others",
    "no caption": "no caption", "no trigger": "no trigger in the caption",
    "trigger": "trigger in a regularisation caption",
}
"""Every code, and its title in tables and on the contact sheet."""


@dataclass(frozen=True)
class Check:
    """One row: a figure, from which value on it is a warning and a fault (None: never), and the text for it.

    `text` may use {value} and {limit}. With `below`, small values count.
    """

    code: str
    figure: Callable[[Figures], float | None]
    warning: float | None
    fault: float | None
    text: str
    below: bool = False


UNDER_EXPOSED, WASHED_OUT = 12.0, 95.0
CHECKS: tuple[Check, ...] = (
    Check("blur", lambda f: f.edge_width, 0.9, 1.5,
          "blurred: edges are {value:.1f} pixels wide, sharp ones {limit:g}; use a sharper image, or leave it out."),
    Check("dark", lambda f: f.dark, 22.0, UNDER_EXPOSED,
          "dark: nearly all of it is below lightness {value:.0f} of 100; brighten it, unless it shows night.",
          below=True),
    Check("bright", lambda f: f.bright, 88.0, WASHED_OUT,
          "washed out: nearly all of it is above lightness {value:.0f} of 100; darken it, or use another."),
    Check("blown", lambda f: f.blown, 0.08, None,
          "{value:.0%} of it is clipped to white or black; use an image that is less harshly exposed."),
    Check("burn", lambda f: f.burn, 0.0, 3.0,
          "burnt: its colours are at their limits (log odds {value:.1f}); use a less processed image, or generate "
          "it with less guidance or a weaker LoRA."),
    Check("blocking", lambda f: f.blocking, 0.5, 1.2,
          "JPEG blocks stand out ({value:.1f}; 0.5 is much for a drawing); use a copy of better quality."),
    Check("border", lambda f: f.border, 0.005, 0.15,
          "bars take {value:.0%} of it; crop them off (Prepare Dataset does)."),
    Check("lettering", lambda f: f.lettering, 0.0, None,
          "seems to have text or a watermark, which would be learnt; crop or paint it out, or tag it."),
)
"""The checks that need only pixels."""

CAST_LEAST, CAST_SPREADS = 4.5, 2.5
"""A cast is a neutral tone at least this far (CIELAB a*, b*) from the set's median, or this many times the distance
within which four fifths of the set are, if that is more."""
CAST_PICTURES = 8
"""A set with fewer images has no common light."""
SMALL_WARNING, SMALL_FAULT = 1.05, 2.0
"""How much an image would have to be enlarged to fill its bucket."""


def pixel_findings(figures: Figures) -> list[Finding]:
    """What the table finds wrong with one image."""
    found = []
    for check in CHECKS:
        value = check.figure(figures)
        if value is None:
            continue
        for severity, limit in (("fault", check.fault), ("warning", check.warning)):
            if limit is not None and (value <= limit if check.below else value >= limit):
                text = check.text.format(value=value, limit=check.warning)
                found.append(Finding(check.code, severity, round(value, 4), limit, text))
                break
    return found


def hidden_findings(sample: Sample, figures: Figures) -> list[Finding]:
    """Whether its ground hides what is drawn on transparency. What else is measured in it then says nothing."""
    if figures.edge_width is not None and WASHED_OUT > figures.bright and figures.dark > UNDER_EXPOSED:
        return []
    text = hidden_by_ground(sample)
    return [Finding("hidden", "fault", None, None, text)] if text else []


def size_findings(size: tuple[int, int], family: Family, resolution: int) -> list[Finding]:
    """Whether the image covers its bucket of the family, and how much the bucket cuts off a very long one."""
    bucket = assign_bucket(size, make_buckets(resolution, family.bucket_step), upscale=True, step=family.bucket_step)
    enlarged = max(bucket[0] / size[0], bucket[1] / size[1])
    found = []
    if enlarged >= SMALL_WARNING:
        severity, limit = ("fault", SMALL_FAULT) if enlarged >= SMALL_FAULT else ("warning", SMALL_WARNING)
        found.append(Finding(
            "small", severity, round(enlarged, 2), limit,
            f"{size[0]} x {size[1]} pixels, but {family.title} trains at {resolution} x {resolution}: it would be "
            f"enlarged {enlarged:.1f} times; find a larger one."))
    aspect = max(size) / min(size)
    cut = 1 - min(size[0] / bucket[0], size[1] / bucket[1]) / max(size[0] / bucket[0], size[1] / bucket[1])
    if cut > 0.1:
        found.append(Finding("shape", "warning", round(aspect, 2), 2.0,
                             f"{aspect:.1f} times as long as wide: {cut:.0%} of it is cut off in training; crop it."))
    return found


def regularisation_findings(caption: str, trigger: str = "") -> list[Finding]:
    """What only the caption of a regularisation image can show: others are welcome in it, but not the trigger."""
    if not trigger or not says(plain(caption), (plain(trigger),)):
        return []
    return [Finding("trigger", "fault", None, None,
                    f"its caption has the trigger {trigger!r}, which is then held to what the base draws; remove "
                    "it.")]


def caption_findings(caption: str, trigger: str = "") -> list[Finding]:
    """What only the caption can show."""
    found = []
    text = plain(caption)
    if not text:
        return [Finding("no caption", "warning", None, None, "has no caption; tag it, so that it binds to words.")]
    if people := several_people(caption):
        found.append(Finding("several people", "warning", None, None,
                             f"shows several people ({people}); crop it to the right one."))
    if words := next((word for word in LETTERING_WORDS if says(text, (word,))), ""):
        found.append(Finding("lettering", "warning", None, None,
                             f"is tagged {words!r}; crop or paint it out, or keep the tag so that it binds to it."))
    if trigger and not says(text, (plain(trigger),)):
        found.append(Finding("no trigger", "note", None, None,
                             f"its caption lacks the trigger {trigger!r}; training adds it if you give it there."))
    return found


def cast_findings(figures: Sequence[Figures | None]) -> list[Finding | None]:
    """For each image, whether its neutral tones have another colour than those of most of the set."""
    tones = {index: (f.cast_a, f.cast_b) for index, f in enumerate(figures) if f is not None and f.cast_a is not None}
    found: list[Finding | None] = [None] * len(figures)
    if len(tones) < CAST_PICTURES:
        return found
    values = np.array(list(tones.values()))
    middle = np.median(values, axis=0)
    distance = np.hypot(*(values - middle).T)
    limit = max(CAST_LEAST, CAST_SPREADS * float(np.quantile(distance, 0.8)))
    for index, far in zip(tones, distance.tolist(), strict=True):
        if far >= limit:
            a, b = np.array(tones[index]) - middle
            found[index] = Finding("cast", "warning", round(far, 1), round(limit, 1),
                                   f"{_tint(a, b)} compared with the rest of the set; match its colours "
                                   "(PrepareDataset can).")
    return found


def _tint(a: float, b: float) -> str:
    names = ("reddish", "orange", "yellowish", "greenish", "greenish", "bluish", "bluish", "purplish")
    return names[int((math.atan2(b, a) / (2 * math.pi) % 1) * 8 + 0.5) % 8]


def unreadable(error: UserError) -> Finding:
    return Finding("unreadable", "fault", None, None, str(error))
