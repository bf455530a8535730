"""What the operator asks Prometheus: one batched query a signal, for all pools or all regions and tiers at once.

Pools and regions come from the labels ``pool`` and ``region`` that relabelling puts on every series (node labels for
the GPU exporter, pod labels for the inference server). Each query can also be a recording rule: at more than about a
hundred pools the rules keep a pass short, and :func:`recording_rules` writes them from the same source. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from exporters.metric_names import (
    GPU_INLET_TEMPERATURE,
    GPU_POWER,
    GPU_SECONDS_TO_SLOWDOWN,
    GPU_TEMPERATURE,
    GPU_THERMAL_MARGIN,
    GPU_THERMAL_RESISTANCE,
    GPU_THROTTLED,
    INFERENCE_ESTIMATED_WAIT,
    INFERENCE_GUARD_READING_AGE,
    INFERENCE_IMAGES,
    INFERENCE_QUEUE_DEPTH,
    INFERENCE_READY,
    INFERENCE_REQUESTS,
    INFERENCE_THERMAL_GUARD,
)

LOW_LEVEL = 0.1
"""Quantile of a pool's margins that rungs answer to."""
UNFAVOURABLE_LEVEL = 0.95
"""Quantile of a pool's GPUs whose plateau stands for the pool; a single outlier is the guard's business."""
RATE_WINDOW = "1m"
SLOW_POWER_WINDOW = "4m"
"""Power that the heat sink remembers, about two of its time constants; the die follows the present power."""
TREND_WINDOW = "10m"
NUM_HOTTEST_NODES = 4
GUARD_READING_SECONDS = 30
"""A pod whose guard read its GPU longer ago than this does not count as guarded."""
RULE_PREFIX = "meltguard:"
THERMAL_REASONS = "sw_thermal|hw_thermal"


class SignalSource(StrEnum):
    """Where signals come from: AUTO takes the recorded ones while there are any, else asks directly."""

    AUTO = "auto"
    RECORDED = "recorded"
    DIRECT = "direct"


class Signal(StrEnum):
    """Everything that is asked; the first group is by pool, ``HOTTEST`` by pool and node, the rest by region."""

    MARGIN_MINIMUM = "pool_margin_minimum_celsius"
    MARGIN_LOW = "pool_margin_low_celsius"
    MARGIN_MEDIAN = "pool_margin_median_celsius"
    MARGIN_NODES_LOW = "pool_margin_nodes_low"
    MARGIN_GPUS = "pool_margin_gpus"
    MARGIN_AT = "pool_margin_timestamp_seconds"
    POWER_MEAN = "pool_power_mean_watts"
    POWER_SLOW = "pool_power_slow_watts"
    THROTTLED = "pool_throttled_ratio"
    SLOWDOWN = "pool_seconds_to_slowdown"
    SLOWDOWN_AT = "pool_seconds_to_slowdown_timestamp_seconds"
    PLATEAU = "pool_plateau_celsius"
    RESISTANCE = "pool_thermal_resistance_celsius_per_watt"
    MODEL_AT = "pool_thermal_model_timestamp_seconds"
    LIMIT = "pool_limit_celsius"
    TREND = "pool_plateau_trend_celsius_per_second"
    SERVING_NODES = "pool_serving_nodes"
    GUARD = "pool_guard_ratio"
    GUARD_AT = "pool_guard_timestamp_seconds"
    HOTTEST = "pool_hottest_nodes_celsius"
    FIRST_RATE = "tier_first_attempts_per_second"
    FIRST_AT = "tier_first_attempts_timestamp_seconds"
    SERVED_RATE = "tier_served_per_second"
    QUEUE = "tier_queue_requests"
    QUEUE_AT = "tier_queue_timestamp_seconds"
    WAIT = "region_wait_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSettings:
    """How the signals are asked.

    Attributes:
        busy_watts: Power of a fully used GPU, at which plateaus are compared.
        selector: Label matchers that every series must carry, such as ``cluster="east"``; empty asks all.
    """

    busy_watts: float
    selector: str = ""


def recorded_query(settings: SignalSettings) -> str:
    """Return the one query that brings every recorded signal; its series tell them apart by their names."""
    matchers = ",".join(part for part in (f'__name__=~"{RULE_PREFIX}.+"', settings.selector) if part)
    return f"{{{matchers}}}"


def queries(settings: SignalSettings) -> dict[Signal, str]:
    """Return the query of every signal, asked directly."""

    def series(name: str, matchers: str = "") -> str:
        inside = ",".join(part for part in (settings.selector, matchers) if part)
        return f"{name}{{{inside}}}" if inside else name

    margin, power = series(GPU_THERMAL_MARGIN.name), series(GPU_POWER.name)
    first = series(INFERENCE_REQUESTS.name, 'attempt="first"')
    resistance, inlet = series(GPU_THERMAL_RESISTANCE.name), series(GPU_INLET_TEMPERATURE.name)
    plateau = f"({inlet} + {resistance} * {settings.busy_watts:g})"
    # The slope of a sum is the sum of the slopes, and a plain range costs a fraction of a subquery.
    trend = f"deriv({inlet}[{TREND_WINDOW}]) + deriv({resistance}[{TREND_WINDOW}]) * {settings.busy_watts:g}"
    slowdown, queue = series(GPU_SECONDS_TO_SLOWDOWN.name), series(INFERENCE_QUEUE_DEPTH.name)
    low = f"quantile by (pool) ({LOW_LEVEL:g}, {margin})"
    throttled = series(GPU_THROTTLED.name, f'reason=~"{THERMAL_REASONS}"')
    # Without both labels nobody knows on which node a pod stands; all of them would be taken for one.
    ready = series(INFERENCE_READY.name, 'pool!="",node!=""')
    # A pool is guarded when each of its pods is: one without a guard shows a ratio of 1 and no reading.
    guard, read = series(INFERENCE_THERMAL_GUARD.name), series(INFERENCE_GUARD_READING_AGE.name)
    guarded = f"count by (pool) ({read} <= {GUARD_READING_SECONDS}) == count by (pool) ({guard})"
    return {
        Signal.MARGIN_MINIMUM: f"min by (pool) ({margin})",
        Signal.MARGIN_LOW: low,
        Signal.MARGIN_MEDIAN: f"quantile by (pool) (0.5, {margin})",
        Signal.MARGIN_NODES_LOW: f"count by (pool) (count by (pool, node) ({margin} <= on (pool) group_left () {low}))",
        Signal.MARGIN_GPUS: f"count by (pool) ({margin})",
        Signal.MARGIN_AT: f"max by (pool) (timestamp({margin}))",
        Signal.POWER_MEAN: f"avg by (pool) ({power})",
        Signal.POWER_SLOW: f"avg by (pool) (avg_over_time({power}[{SLOW_POWER_WINDOW}]))",
        Signal.THROTTLED: f"avg by (pool) (max by (pool, uuid) ({throttled}))",
        Signal.SLOWDOWN: f"min by (pool) ({slowdown})",
        Signal.SLOWDOWN_AT: f"max by (pool) (timestamp({slowdown}))",
        Signal.PLATEAU: f"quantile by (pool) ({UNFAVOURABLE_LEVEL:g}, {plateau})",
        Signal.RESISTANCE: f"quantile by (pool) (0.5, {resistance})",
        Signal.MODEL_AT: f"max by (pool) (timestamp({resistance}))",
        Signal.LIMIT: f"quantile by (pool) (0.5, {series(GPU_TEMPERATURE.name)} + {margin})",
        Signal.TREND: f"quantile by (pool) (0.5, {trend})",
        Signal.SERVING_NODES: f"count by (pool) (max by (pool, node) ({ready}) == 1)",
        Signal.GUARD: f"avg by (pool) ({guard}) and on (pool) ({guarded})",
        Signal.GUARD_AT: f"max by (pool) (timestamp({guard}))",
        Signal.HOTTEST: f"bottomk by (pool) ({NUM_HOTTEST_NODES}, min by (pool, node) ({margin}))",
        Signal.FIRST_RATE: f"sum by (region, tier) (rate({first}[{RATE_WINDOW}]))",
        Signal.FIRST_AT: f"max by (region, tier) (timestamp({first}))",
        Signal.SERVED_RATE: f"sum by (region, tier) (rate({series(INFERENCE_IMAGES.name)}[{RATE_WINDOW}]))",
        Signal.QUEUE: f"sum by (region, tier) ({queue})",
        Signal.QUEUE_AT: f"max by (region) (timestamp({queue}))",
        Signal.WAIT: f"max by (region) ({series(INFERENCE_ESTIMATED_WAIT.name)})",
    }


def recording_rules(settings: SignalSettings, *, interval: str = "5s") -> dict[str, object]:
    """Return a Prometheus rule file, as plain data, that records every signal.

    Args:
        settings: How the signals are asked directly.
        interval: How often the rules are evaluated.

    Returns:
        The document; JSON and YAML alike.
    """
    rules = [{"record": f"{RULE_PREFIX}{signal.value}", "expr": text} for signal, text in queries(settings).items()]
    return {"groups": [{"name": "meltguard-signals", "interval": interval, "rules": rules}]}
