"""What the EXIF of photographs says against training on them together: taken years apart, with a phone, or close with a
wide lens.

Guide 003: images of one person taken too far apart in time are inconsistent; phones distort the perspective, and are to
be used only after their faults are corrected. From when on is our own choice: two years, and 28 mm (of a 35 mm film).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median_low

from ..common.counts import count_noun
from ..pictures.images import Camera
from .checks import Finding

FAR_APART = timedelta(days=2 * 365.25)
WIDE = 28
"""Focal length in mm, as on a 35 mm film, at which a face that fills the frame is visibly distorted."""
_PHONE = re.compile(r"(?<![a-z0-9])(iphone|ipad|pixel|nexus|galaxy|(sm|gt)-\w+|xiaomi|redmi|poco|huawei|honor|oneplus|"
                    r"oppo|vivo|motorola|moto|realme|nokia|htc|lge|(lg|lm|xq)-\w+|xperia|asus|zte|tecno|infinix|nothing|"
                    r"fairphone|meizu)(?![a-z])", re.IGNORECASE)
_DISTORTION = "correct its distortion and match its colours to better images (PrepareDataset can)"


def is_phone(camera: Camera) -> bool:
    """By maker and model; a camera of a maker of phones is none."""
    return bool(_PHONE.search(camera.model))


def camera_findings(cameras: Sequence[Camera]) -> tuple[list[list[Finding]], tuple[str, ...]]:
    """(for each image what its EXIF says against it, advice on the set). Where most images are a phone's, one line of
    advice says so instead of a finding for each."""
    mostly = sum(map(is_phone, cameras)) > max(2, len(cameras) / 2)
    dates = [camera.taken for camera in cameras if camera.taken]
    middle = median_low(dates) if dates else None
    found = [[*_date_findings(camera, middle), *([] if mostly and is_phone(camera) else _lens_findings(camera))]
             for camera in cameras]
    return found, (*_date_advice(dates), *(_phone_advice(cameras) if mostly else ()))


def _date_findings(camera: Camera, middle: datetime | None) -> list[Finding]:
    if camera.taken is None or middle is None or abs(camera.taken - middle) <= FAR_APART:
        return []
    years = abs(camera.taken - middle).days / 365.25
    return [Finding("date", "note", round(years, 1), FAR_APART.days / 365.25, (
        f"taken in {camera.taken.year}, {count_noun(round(years), 'year')} from most of the set: a person changes; "
        "leave it out, or say the age in its caption."))]


def _date_advice(dates: Sequence[datetime]) -> tuple[str, ...]:
    if not dates or max(dates) - min(dates) <= FAR_APART:
        return ()
    return (f"photographs from {min(dates).year} to {max(dates).year}: age and looks change, so take those of about "
            "two years, or say the age in captions.",)


def _lens_findings(camera: Camera) -> list[Finding]:
    length = camera.focal_length
    wide = length is not None and length <= WIDE
    at = f" at {length} mm" if wide else ""
    if is_phone(camera):
        return [Finding("lens", "note", length, WIDE, f"taken with a phone ({camera.model}){at}: {_DISTORTION}, or use "
                                                      "another.")]
    return [Finding("lens", "note", length, WIDE, (
        f"taken{at} (of a 35 mm film): what is near looks too large, a face above all; correct the perspective, or use "
        "one from farther away."))] if wide else []


def _phone_advice(cameras: Sequence[Camera]) -> tuple[str, ...]:
    models = Counter(camera.model for camera in cameras if is_phone(camera))
    (most, _), *_ = models.most_common(1)
    others = f" and {count_noun(len(models) - 1, 'other')}" if len(models) > 1 else ""
    return (f"{models.total()} of {len(cameras)} images are a phone's ({most}{others}): "
            f"{_DISTORTION.replace('its', 'their')}.",)
