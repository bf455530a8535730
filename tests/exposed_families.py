"""An exposition of every family that controller, forecaster and inference pods declare, each with plausible values."""

from __future__ import annotations

import itertools
import time

from exporters.metric_names import (
    CONTROLLER_METRICS,
    FORECAST_METRICS,
    INFERENCE_METRICS,
    Metric,
    MetricType,
)
from tests.stub_exposition import StubExposition

# Labels that are not here get one value that no query asks for.
LABEL_VALUES: dict[str, tuple[str, ...]] = {
    "region": ("eu",),
    "pool": ("h200",),
    "tier": ("free", "paid"),
    "q": ("0.5", "0.9"),
    "horizon": ("900", "3600"),
    "state": ("desired", "ready", "serving", "calm", "busy"),
    "step": ("observe", "apply"),
    "kind": ("nodes", "flags"),
    "result": ("done", "rejected"),
    "input": ("thermal", "demand"),
    "attempt": ("first", "retry"),
    "outcome": ("admitted", "quota", "contended"),
    "bound": ("min", "max"),
    "size": ("1024x1024",),
}
BOUNDS = ("0.1", "0.5", "2.5", "10.0", "+Inf")


def series_of(metric: Metric, suffix: str = "", more: str = "") -> list[str]:
    """Return the series of a family, one for every combination of its labels' values."""
    names = metric.labels
    found = []
    for values in itertools.product(*(LABEL_VALUES.get(name, ("any",)) for name in names)):
        labels = ",".join(
            [*(f'{name}="{value}"' for name, value in zip(names, values, strict=True)), *filter(None, [more])]
        )
        found.append(f"{metric.name}{suffix}{{{labels}}}" if labels else f"{metric.name}{suffix}")
    return found


def expose(stub: StubExposition, metrics: tuple[Metric, ...]) -> None:
    """Let a stub show every family: gauges at 1, times at now, counters and histograms rising."""
    for metric in metrics:
        if metric.type is MetricType.GAUGE:
            is_time = metric.name.endswith("timestamp_seconds")
            stub.show(dict.fromkeys(series_of(metric), time.time if is_time else 1.0))
        elif metric.type is MetricType.COUNTER:
            stub.rise(dict.fromkeys(series_of(metric), 2.0))
        else:
            stub.rise(dict.fromkeys([*series_of(metric, "_count"), *series_of(metric, "_sum")], 5.0))
            for rank, bound in enumerate(BOUNDS):
                stub.rise(dict.fromkeys(series_of(metric, "_bucket", f'le="{bound}"'), 1.0 + rank))


OPERATOR_FAMILIES: tuple[Metric, ...] = (*CONTROLLER_METRICS, *FORECAST_METRICS)
POD_FAMILIES: tuple[Metric, ...] = INFERENCE_METRICS
