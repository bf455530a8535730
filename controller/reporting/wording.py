"""Puts numbers into words and never rounds in our favour.

A share is written as 0 % or 100 % only when it is exactly that. Called by the report, the text table and the live
view; pure.
"""

from __future__ import annotations

import math
from datetime import datetime

from controller.types.policy import Rung

ABSENT = "–"
_RUNG_NAMES: dict[int, str] = {
    Rung.OBSERVE: "observe",
    Rung.HOLD: "hold",
    Rung.PROVISION: "provision",
    Rung.SHAPE_QUIETLY: "shape quietly",
    Rung.LOWER_FREE_QUOTA: "lower free quota",
    Rung.SHED: "shed",
    Rung.DISABLE_FREE: "free tier off",
    Rung.PAID_IMPACT: "paid impact",
}
_POLICY_NAMES = {"none": "without meltguard", "meltguard": "meltguard", "reactive": "reactive", "keda": "KEDA-style"}
_MAX_NAME_CHARACTERS = 80
_LARGEST_PLAIN = 1e15
"""Above this a number is written with an exponent."""


def rung_name(rung: int) -> str:
    """Return the name of a rung, or its number where the ladder has no such rung."""
    return _RUNG_NAMES.get(rung, f"rung {rung}")


def short_name(text: str) -> str:
    """Cut a name from data to a length that a heading can hold."""
    return text if len(text) <= _MAX_NAME_CHARACTERS else text[: _MAX_NAME_CHARACTERS - 1] + "…"


def policy_name(policy: str) -> str:
    """Return a policy's name as people read it."""
    return _POLICY_NAMES.get(policy, short_name(policy))


def terminal_text(text: str) -> str:
    """Return text that cannot steer a terminal: what does not print becomes U+FFFD."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def policy_word(policy: str) -> str:
    """Return a policy's name where only one word has room."""
    return "without" if policy == "none" else policy_name(policy)


def with_policy(policy: str) -> str:
    """Return "with meltguard", "without meltguard" or "with the … policy"."""
    if policy == "none":
        return "without meltguard"
    return "with meltguard" if policy == "meltguard" else f"with the {policy_name(policy)} policy"


def capitalised(text: str) -> str:
    """Return the text with its first letter raised and the others as they are."""
    return text[:1].upper() + text[1:]


def number_text(value: float, decimals: int = 0) -> str:
    """Write a number with thousands separators; 12,345.6."""
    if not math.isfinite(value):
        return ABSENT if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if abs(value) >= _LARGEST_PLAIN:
        return f"{value:.2e}"
    text = f"{value:,.{decimals}f}"
    return text[1:] if text.startswith("-") and not any(digit in text for digit in "123456789") else text


def count_text(value: float) -> str:
    """Write a count in three or more figures: 950, 12,345, 1.23 million."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if size <= abs(value) < 1e15:
            return f"{value / size:,.2f} {name}"
    return number_text(value, 0 if abs(value) >= 100 or value == int_or_nan(value) else 2)


def int_or_nan(value: float) -> float:
    """Return the value without its fraction; NaN for what has none."""
    return float(math.trunc(value)) if math.isfinite(value) else math.nan


def tick_text(value: float) -> str:
    """Write an axis label: 0, 250, 20 k, 1 M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e15:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def celsius_text(value: float, against: float | None = None) -> str:
    """Write a temperature with one decimal, with more where rounding would make it equal ``against``."""
    for decimals in (1, 2, 3):
        text = number_text(value, decimals)
        if against is None or value == against or text != number_text(against, decimals):
            break
    return f"{text} °C"


def ratio_text(value: float) -> str:
    """Write a ratio 0..1 as a percentage; only nothing is 0 % and only everything is 100 %."""
    if not math.isfinite(value):
        return ABSENT
    if value == 0.0 or value == 1.0:
        return f"{value * 100:.0f} %"
    if 0.0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1.0:
        return "> 99.9 %"
    return f"{number_text(value * 100, 1)} %"


def duration_text(seconds: float) -> str:
    """Write a duration in the unit that people would use: 0 s, 45 s, 12.5 min, 3.2 h."""
    if not math.isfinite(seconds):
        return ABSENT
    size = abs(seconds)
    if size < 120.0:
        return f"{number_text(seconds, 0 if seconds == int_or_nan(seconds) else 1)} s"
    if size < 7200.0:
        return f"{number_text(seconds / 60.0, 1)} min"
    return f"{number_text(seconds / 3600.0, 1)} h"


def clock_text(at: datetime) -> str:
    """Write a time of day, UTC as recorded."""
    return f"{at:%H:%M}"


def stamp_text(at: datetime) -> str:
    """Write date and time: 25 Mar 18:04."""
    return f"{at.day} {at:%b %H:%M}"
