"""Puts recorded sign-ups and load in the place of a scenario's own, scaled to its fleet.

A recording of another service has other magnitudes. Its shape is kept and its normal level is mapped to the scenario's:
the median of the recorded sign-ups becomes the scenario's first rate, and the median of the recorded load becomes the
scenario's baseline. Gaps stay out of the curve; it is interpolated over them, and the scenario's facts say how many.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np

from controller.errors import UsageError
from controller.simulator.scenario import Fact, FactKind, LoadPoint, Scenario, WavePoint
from forecasting.types import DemandSeries, FloatArray

FLOOR_RATIO = 0.02
"""Recorded sign-ups below this share of their median are raised to it: the wave is interpolated in the logarithm."""
MIN_POINTS = 2


def with_recording(
    scenario: Scenario, *, signups: DemandSeries, requests: DemandSeries | None, start: datetime | None, source: str
) -> Scenario:
    """Return the scenario with recorded users.

    Args:
        scenario: Fleet, prices, duration and normal level.
        signups: Recorded sign-ups.
        requests: Recorded load; None lets the requests follow from the sign-ups.
        start: Begin of the replay; None is the begin of the recording.
        source: What the recording is called in the scenario's facts.

    Returns:
        The scenario.

    Raises:
        UsageError: If the recording does not cover the scenario's duration from ``start``.
    """
    begin = signups.start if start is None else start.astimezone(UTC)
    times, values = _cut(signups, begin, scenario.duration_seconds, source)
    normal = scenario.users.wave[0].signups_per_hour
    per_hour = _scaled(values, _normal_level(signups, source)) * normal
    wave = tuple(
        WavePoint(at_seconds=float(at), signups_per_hour=float(rate)) for at, rate in zip(times, per_hour, strict=True)
    )
    users = msgspec.structs.replace(scenario.users, wave=wave)
    if requests is not None:
        load_times, load = _cut(requests, begin, scenario.duration_seconds, source)
        ratios = _scaled(load, _normal_level(requests, source))
        points = tuple(
            LoadPoint(at_seconds=float(at), ratio=float(ratio)) for at, ratio in zip(load_times, ratios, strict=True)
        )
        # The recorded load already holds what new users asked for.
        silent = tuple(0.0 for _ in users.requests_per_user_hour)
        users = msgspec.structs.replace(users, baseline_ratio=points, requests_per_user_hour=silent)
    expected = round(scenario.duration_seconds / signups.step_seconds)
    fact = Fact(
        what=f"Sign-ups{' and load' if requests is not None else ''} as recorded from {begin:%Y-%m-%d %H:%M} UTC; "
        f"{max(expected - len(values), 0)} of {expected} intervals of sign-ups missing; medians scaled to this fleet.",
        kind=FactKind.MEASURED,
        source=source,
    )
    return msgspec.structs.replace(
        scenario,
        start=begin,
        users=users,
        title=f"{scenario.name} with recorded users of {source}",
        facts=(fact, *scenario.facts),
    )


def _cut(series: DemandSeries, begin: datetime, duration_seconds: float, source: str) -> tuple[FloatArray, FloatArray]:
    """Return times from ``begin`` in seconds (middle of each interval) and counts of the part that is replayed.

    Raises:
        UsageError: If fewer than two intervals are known there.
    """
    offset = (series.start - begin).total_seconds()
    middle: FloatArray = offset + (np.arange(series.num_points, dtype=np.float64) + 0.5) * series.step_seconds
    inside = (middle >= 0.0) & (middle <= duration_seconds) & np.isfinite(series.values)
    if int(inside.sum()) < MIN_POINTS:
        raise UsageError(
            f"{source}: fewer than {MIN_POINTS} known values from {begin:%Y-%m-%dT%H:%MZ} on; the recording covers "
            f"{series.start:%Y-%m-%dT%H:%MZ} to {series.end:%Y-%m-%dT%H:%MZ}, choose --start and --duration in it"
        )
    return middle[inside], series.values[inside]


def _normal_level(series: DemandSeries, source: str) -> float:
    """Return the median of a recording.

    Raises:
        UsageError: If it is zero, for then there is no normal level to scale by.
    """
    level = float(np.nanmedian(series.values))
    if not level > 0.0:
        raise UsageError(f"{source}: the median count is {level:g}; a recording without a normal level has no scale")
    return level


def _scaled(values: FloatArray, normal: float) -> FloatArray:
    """Return counts relative to their normal level, kept above the floor."""
    ratios: FloatArray = np.maximum(values / normal, FLOOR_RATIO)
    return ratios
