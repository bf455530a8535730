"""How early a crossing of a virtual limit is called on recorded logs, with the later power known.

A crossing is the first reading at or above the trace's maximum minus 6 K after at least 60 s below it; it is flagged
when an alarm was raised before it while the GPU was below: three forecasts in a row predicted it, and the alarm did not
wait for more readings (``CrossingAlarm``). A reading is quiet when neither it nor any of the next ten minutes is at or
above the limit; a quiet reading with the alarm up is a false alarm. Called by ``thermal_accuracy`` and
``thermal_holdout``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from thermal_recorded import BURN_SECONDS, RecordedRun, feed, new_model

from forecasting.thermal.rules import CrossingAlarm
from forecasting.types import FloatArray

LEVELS = (0.2, 0.35, 0.5)
"""Probabilities from which a crossing counts as predicted: where a missed crossing costs ``(1 - p) / p`` false alarms.

Chosen by cost and not moved by the scores: 0.5 acts (both errors cost the same), 0.2 warns (a miss costs four false
alarms), 0.35 lies between (about two).
"""

PLAN_PERIOD_SECONDS = 10.0
"""The operator plans every 10 s, so it forecasts from one reading several times where readings are slower."""

DEFAULT_LEVEL = 0.5
EXPECTED_LEVEL = 0.35
"""The alarm waits by this level's time, and tells it. The median path passes late: one of many readings is enough."""

LOOK_AHEAD_SECONDS = 600.0
BELOW_MAXIMUM_CELSIUS = 6.0
PATIENCE_SECONDS = 60.0

THRESHOLD_NOTES = """\
    every reading: one forecast per reading, so a GPU that crosses within three readings cannot be flagged.
    every 10 s: also between readings, from the last reading and the power path, as the operator plans. It learns
    nothing between them, so the alarm waits for three readings unless the crossing may come before them.
    time error: of the time that the alarm tells (p>=0.35), at every forecast with the alarm up before a crossing.
    possible: crossings with three forecasts before them. Floor 85 % flagged and 0.3 % alarms, target 95 % and 0.1 %."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThresholdTrace:
    """One GPU's run.

    Attributes:
        step_seconds: Distance between readings.
        above: Whether each reading is at or above the limit, shape ``(num_samples,)``.
        predicted_seconds: Time to the limit as forecast from each reading at each of ``LEVELS``, shape
            ``(num_levels, num_samples)``; infinite: not predicted.
    """

    step_seconds: float
    above: NDArray[np.bool_]
    predicted_seconds: FloatArray


@dataclass(slots=True, kw_only=True)
class ThresholdScore:
    """What time to threshold adds up to."""

    crossings: int = 0
    possible: int = 0
    flagged: int = 0
    quiet: int = 0
    false_alarms: int = 0
    leads_seconds: list[float] = field(default_factory=list)
    errors_seconds: list[float] = field(default_factory=list)


def threshold_traces(
    run: RecordedRun, prior: FloatArray | None, *, below_celsius: float = BELOW_MAXIMUM_CELSIUS
) -> list[ThresholdTrace]:
    """Forecast from every reading of a run, the first included, and return one trace per GPU.

    Args:
        run: The run.
        prior: Plateau gains to start from, shape ``(num_gpus, num_tc)``; None is the class prior.
        below_celsius: Distance of the virtual limit to the trace's maximum.

    Returns:
        Traces in the order of the run's GPUs.
    """
    limit = run.temperature_celsius.max(axis=1) - below_celsius
    model = new_model(run, prior, limit)
    step, num = run.step_seconds, run.num_samples
    longest = round(LOOK_AHEAD_SECONDS / step)
    predicted = np.full((len(LEVELS), len(run.gpus), num), np.inf)
    for index in range(num - 1):
        feed(model, run, index)
        num_steps = min(longest, num - 1 - index)
        edges = step * np.arange(1, num_steps + 1, dtype=np.float64)
        path = run.power_watts[:, index + 1 : index + 1 + num_steps]
        forecast = model.forecast(horizons_seconds=edges, power_watts=path, levels=LEVELS)
        predicted[:, :, index] = forecast.seconds_to_slowdown
    return [
        ThresholdTrace(
            step_seconds=step,
            above=run.temperature_celsius[row] >= limit[row],
            predicted_seconds=predicted[:, row],
        )
        for row in range(len(run.gpus))
    ]


def alarms_of(trace: ThresholdTrace, *, level: int, num_per_reading: int) -> tuple[NDArray[np.bool_], FloatArray]:
    """Run the alarm over a trace.

    Args:
        trace: The GPU's run.
        level: Index into ``LEVELS``.
        num_per_reading: Forecasts made from each reading, evenly spread until the next.

    Returns:
        Whether the alarm is up at each forecast, and the seconds that it tells, each of shape
        ``(num_samples * num_per_reading,)``.
    """
    step, num = trace.step_seconds, trace.above.size
    # A forecast between readings is the last reading's under the same known power: the crossing came that much nearer.
    waited = step / num_per_reading * np.arange(num_per_reading)
    predicted, expected = (
        np.maximum(np.where(trace.above, np.inf, trace.predicted_seconds[row])[:, None] - waited, 0.0)
        for row in (level, min(level, LEVELS.index(EXPECTED_LEVEL)))
    )
    alarm = CrossingAlarm(num_gpus=1)
    raised = np.zeros((num, num_per_reading), dtype=np.bool_)
    for index in range(num):
        for between in range(num_per_reading):
            raised[index, between] = alarm.observe(
                predicted=np.isfinite(predicted[index, between : between + 1]),
                expected_seconds=expected[index, between : between + 1],
                new_reading=between == 0,
                period_seconds=step,
            )[0]
    return raised.ravel(), expected.ravel()


def score_trace(trace: ThresholdTrace, total: ThresholdScore, *, level: int, num_per_reading: int) -> None:
    """Add one GPU's crossings, leads and false alarms.

    Args:
        trace: The GPU's run.
        total: What is added to.
        level: Index into ``LEVELS``.
        num_per_reading: Forecasts made from each reading, evenly spread until the next.
    """
    step, above, num = trace.step_seconds, trace.above, trace.above.size
    spacing = step / num_per_reading
    raised, told = alarms_of(trace, level=level, num_per_reading=num_per_reading)
    patience, ahead = max(1, round(PATIENCE_SECONDS / step)), round(LOOK_AHEAD_SECONDS / step)
    for crossing in range(patience, num):
        if not above[crossing] or above[crossing - patience : crossing].any():
            continue
        first = crossing
        while first > 0 and not above[first - 1] and crossing - first < ahead:
            first -= 1
        start, end = first * num_per_reading, crossing * num_per_reading
        window = np.flatnonzero(raised[start:end]) + start
        total.crossings += 1
        total.possible += int(end - start >= 3)
        if window.size:
            total.flagged += 1
            total.leads_seconds.append(float(end - window[0]) * spacing)
            total.errors_seconds += np.abs(told[window] - (end - window) * spacing).tolist()
    alarmed = raised.reshape(num, num_per_reading).any(axis=1)
    for index in range(int(BURN_SECONDS / step), num - 1):
        if not above[index : index + ahead + 1].any():
            total.quiet += 1
            total.false_alarms += int(alarmed[index])


def print_threshold(traces: list[ThresholdTrace]) -> None:
    """Print one line per way of forecasting and level; the default is marked."""
    for between in (False, True):
        for index, level in enumerate(LEVELS):
            total = ThresholdScore()
            for trace in traces:
                several = max(1, round(trace.step_seconds / PLAN_PERIOD_SECONDS)) if between else 1
                score_trace(trace, total, level=index, num_per_reading=several)
            way = "every 10 s   " if between else "every reading"
            mark = "*" if between and level == DEFAULT_LEVEL else " "
            print(f"   {mark}{way} p>={level:<4g} {_line(total)}")
    print("    * is the default: the operator's planning period, and as likely as not")


def _line(total: ThresholdScore) -> str:
    """Return a score as text."""
    share, alarms = total.flagged / max(total.crossings, 1), total.false_alarms / max(total.quiet, 1)
    lead = np.median(total.leads_seconds) if total.leads_seconds else np.nan
    errors = np.array(total.errors_seconds or [np.nan])
    return (
        f"{total.flagged}/{total.crossings} flagged ({share:.1%}; {total.possible} possible), "
        f"median lead {lead:.0f} s; "
        f"{total.false_alarms}/{total.quiet} quiet alarmed ({alarms:.2%}); "
        f"time error mean {errors.mean():.0f} s, median {np.median(errors):.0f} s"
    )
