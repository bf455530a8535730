"""A backtest as JSON (``meltguard.backtest/v1``), as a table and as a page; pure."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence

from forecasting.backtest.rolling import UNMET_TARGETS, BacktestResult, Score
from forecasting.backtest.waves import Detection, Wave, judge_alarms
from forecasting.durations import describe_duration, describe_time
from forecasting.types import DemandSeries

SCHEMA = "meltguard.backtest/v1"


def detection_of(result: BacktestResult, series: DemandSeries, waves: Sequence[Wave]) -> Detection:
    """Return how the alarms of a backtest met labelled waves within the judged span."""
    return judge_alarms(
        waves,
        [series.start_of(index + 1) for index in result.alarms],
        start=series.start_of(int(result.origins[0]) + 1),
        end=series.start_of(int(result.origins[-1]) + 1),
    )


def backtest_json(result: BacktestResult, series: DemandSeries, detection: Detection | None = None) -> str:
    """Return the outcome as one line of JSON."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "series": {"region": series.key.region, "tier": series.key.tier},
        "step_seconds": series.step_seconds,
        "horizon_seconds": result.horizon_steps * series.step_seconds,
        "num_origins": result.num_origins,
        "first_origin": describe_time(series.start_of(int(result.origins[0]) + 1)),
        "last_origin": describe_time(series.start_of(int(result.origins[-1]) + 1)),
        "surge": {
            "share_ratio": _number(result.surge_ratio),
            "alarms": [describe_time(series.start_of(index + 1)) for index in result.alarms],
            "alarms_per_30_days": _number(result.alarms_per_30_days),
        },
        "skill": skill_line(result),
        "scores": [_score(score) for score in result.scores],
    }
    if detection is not None:
        document["detection"] = _detection(detection)
    return json.dumps(document, allow_nan=False)


def _detection(detection: Detection) -> dict[str, object]:
    rate = detection.false_alarms_per_30_days
    return {
        "num_waves": len(detection.waves),
        "num_detected": detection.num_detected,
        "median_delay_seconds": detection.median_delay_seconds,
        "waves": [
            {"start": describe_time(wave.start), "end": describe_time(wave.end), "delay_seconds": delay}
            for wave, delay in zip(detection.waves, detection.delays_seconds, strict=True)
        ],
        "false_alarms": [describe_time(alarm) for alarm in detection.false_alarms],
        "false_alarms_per_30_quiet_days": None if rate is None else _number(rate),
    }


def _detection_line(detection: Detection) -> str:
    delay, rate = detection.median_delay_seconds, detection.false_alarms_per_30_days
    return (
        f"labelled waves: {detection.num_detected} of {len(detection.waves)} called, median delay"
        f" {'-' if delay is None else describe_duration(delay)} (missed ones count as latest);"
        f" {len(detection.false_alarms)} false alarms"
        f" ({'-' if rate is None else f'{rate:.2f}'} per 30 quiet days)"
    )


def _score(score: Score) -> dict[str, object]:
    return {
        "name": score.name,
        "relative_mae": _number(score.relative_mae),
        "mase": _number(score.mase),
        "weighted_quantile_loss": _number(score.weighted_quantile_loss),
        "pinball": _by_level(score.pinball),
        "coverage": _by_level(score.coverage),
        "coverage_in_surge": _by_level(score.coverage_in_surge),
        "over_ratio_at_unmet": _by_level(score.over),
        "over_relative_to_last_value": _by_level(score.over_ratio),
        "over_causal_ratio_at_2_percent_unmet": _number(score.over_causal),
        "over_causal_relative_to_last_value": _number(score.over_causal_ratio),
        "cpu_milliseconds_per_forecast": _number(score.cpu_milliseconds),
    }


def _by_level(values: dict[float, float]) -> dict[str, float | None]:
    return {f"{level:g}": _number(value) for level, value in values.items()}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def skill_line(result: BacktestResult) -> str:
    """Return in one sentence whether we beat last value, also when we do not."""
    ours = result.scores[0]
    ratio = ours.over_ratio[0.02]
    if not math.isfinite(ratio):
        return "skill against last value cannot be told: last value over-provisions nothing at 2 % unmet demand"
    verdict = "less" if ratio < 1.0 else "MORE"
    return (
        f"at 2 % unmet demand we over-provision {abs(1.0 - ratio):.1%} {verdict} than last value"
        f" (ratio {ratio:.3f}); our median's absolute error is {ours.relative_mae:.3f} of last value's"
    )


def backtest_text(result: BacktestResult, series: DemandSeries, detection: Detection | None = None) -> str:
    """Return the outcome as lines for a terminal, without a final newline."""
    step = series.step_seconds
    lines = [
        f"{result.num_origins} origins from {describe_time(series.start_of(int(result.origins[0]) + 1))} to"
        f" {describe_time(series.start_of(int(result.origins[-1]) + 1))},"
        f" {describe_duration(result.horizon_steps * step)} ahead in steps of {describe_duration(step)}",
        f"surge alarms: {len(result.alarms)} ({result.alarms_per_30_days:.2f} per 30 days),"
        f" {result.surge_ratio:.1%} of the points inside surges",
        *(() if detection is None else (_detection_line(detection),)),
        skill_line(result),
    ]
    header = ["forecaster", "relMAE", "MASE", *(f"over@{target:.0%}" for target in UNMET_TARGETS), "rel@2%", "causal"]
    header += ["pin90 %", "P90", "P95", "P99", "P90 surge", "ms"]
    rows = [header, *(_text_row(score) for score in result.scores)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def _text_row(score: Score) -> list[str]:
    row = [score.name, f"{score.relative_mae:.3f}", f"{score.mase:.2f}"]
    row += [_percent(score.over[target]) for target in UNMET_TARGETS]
    row += [f"{score.over_ratio[0.02]:.3f}", f"{score.over_causal_ratio:.3f}"]
    row.append(f"{100.0 * score.pinball[0.9]:.2f}" if 0.9 in score.pinball else "-")
    row += [_percent(score.coverage.get(level, math.nan)) for level in (0.9, 0.95, 0.99)]
    row += [_percent(score.coverage_in_surge.get(0.9, math.nan)), f"{score.cpu_milliseconds:.2f}"]
    return [cell.replace("nan", "-") for cell in row]


def _percent(value: float) -> str:
    return f"{100.0 * value:.1f}%" if math.isfinite(value) else "-"


def backtest_page(result: BacktestResult, series: DemandSeries, detection: Detection | None = None) -> str:
    """Return a self-contained HTML page: over-provisioning per forecaster as bars, and the table."""
    scores = sorted(result.scores, key=lambda score: score.over[0.02])
    worst = max((score.over[0.02] for score in scores), default=1.0) or 1.0
    bars = []
    for row, score in enumerate(scores):
        width = 600.0 * score.over[0.02] / worst
        color = "#c2410c" if score is result.scores[0] else "#3b82c4"
        bars.append(
            f'<text x="150" y="{row * 26 + 18}" text-anchor="end" font-size="13">{html.escape(score.name)}</text>'
            f'<rect x="160" y="{row * 26 + 4}" width="{width:.1f}" height="18" fill="{color}"/>'
            f'<text x="{166 + width:.1f}" y="{row * 26 + 18}" font-size="13">{_percent(score.over[0.02])}</text>'
        )
    figure = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 {26 * len(scores) + 8}" role="img"'
        f' font-family="system-ui, sans-serif">{"".join(bars)}</svg>'
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>meltguard backtest</title>'
        "<style>body{margin:2rem auto;max-width:64rem;font:16px/1.5 system-ui,sans-serif}pre{overflow:auto}</style>"
        "</head><body>\n<h1>Over-provisioned capacity at 2 % unmet demand</h1>\n"
        f"{figure}\n<pre>{html.escape(backtest_text(result, series, detection))}</pre>\n</body></html>\n"
    )
