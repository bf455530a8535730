"""Building blocks of the custom resources: bounded texts, numbers and durations, and the conditions of a status."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from controller.errors import UsageError

GROUP = "meltguard.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
"""Durations as Kubernetes and Go write them, such as ``90s`` or ``1h30m``."""
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253)]
RegionName: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
]
"""Regions and tiers are labels of metrics and parts of annotations, so they look like label values."""
Duration: TypeAlias = Annotated[str, Meta(max_length=32, pattern=DURATION_PATTERN)]
Ratio: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive: TypeAlias = Annotated[float, Meta(gt=0.0)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0.0)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
PositiveCount: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
Query: TypeAlias = Annotated[str, Meta(min_length=1, max_length=8192)]


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of every object of a spec: camel case in YAML, unknown fields are errors."""


class Condition(Shape, frozen=True, kw_only=True):
    """One condition of a status, as every Kubernetes API has them."""

    type: Annotated[str, Meta(max_length=316, description="What is judged.")]
    status: Annotated[str, Meta(pattern="^(True|False|Unknown)$", description="The verdict.")]
    reason: Annotated[str, Meta(max_length=1024, description="One word for machines.")]
    message: Annotated[str, Meta(max_length=32768, description="A sentence for people.")] = ""
    last_transition_time: Annotated[str, Meta(description="When the verdict last changed.")]
    observed_generation: Annotated[int, Meta(ge=0, description="Generation of the spec that was judged.")] = 0


def duration_seconds(text: str, *, place: str) -> float:
    """Return a duration in seconds.

    Args:
        text: Such as ``90s`` or ``1h30m``.
        place: What to call it in errors.

    Returns:
        Seconds, >= 0.

    Raises:
        UsageError: If it is no duration.
    """
    if re.fullmatch(DURATION_PATTERN.strip("^$"), text) is None:
        raise UsageError(f"{place}: {text!r} is no duration; write 90s, 10m or 1h30m")
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", text)
    return float(sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))
