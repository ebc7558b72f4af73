"""Numbers in sentences."""

from __future__ import annotations


def count_noun(number: float, noun: str) -> str:
    """`1 image`, `24 images`, `16.7 epochs`: at most one decimal, and one only where the number reads as 1."""
    text = format_number(number)
    return f"{text} {noun}" + ("" if text == "1" else "s")


def format_number(number: float) -> str:
    """At most one decimal, and none where it would be 0, except for what would read as nothing."""
    return f"{number:.1g}" if 0 < number < 0.05 else f"{number:.1f}".removesuffix(".0")


def format_rate(rate: float) -> str:
    """A learning rate as people write it: `1e-4`, `1.5e-3`, `0.5`."""
    if rate >= 0.1:
        return f"{rate:g}"
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def duration(seconds: float) -> str:
    """About how long: 4.2 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
