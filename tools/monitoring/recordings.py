"""The recording rules: a fleet's GPUs reduced to pools, so that nobody reads every GPU every ten seconds. Pure.

The operator may read the ``pool:`` series instead of the GPUs' own; the alerts and dashboards do.
"""

from __future__ import annotations

from tools.monitoring.model import Recording
from tools.monitoring.thresholds import RUNG_LAST_AUTOMATIC, RUNG_USERS_NOTICE

GPU = "cluster, region, pool, node, gpu, uuid"
NODE = "cluster, region, pool, node"
POOL = "cluster, region, pool"
REGION = "cluster, region"
EXPORTER_JOB = "meltguard-exporter"
OPERATOR_JOB = "meltguard-operator"
INFERENCE_JOB = "meltguard-inference"
FAILED_RESULTS = "quota|time_out|conflict|fenced|rejected|failed|error"
"""Values of the label ``result`` of an action that had no effect."""

MARGIN = "gpu:meltguard_gpu_thermal_margin_celsius:min"
THROTTLED = "gpu:meltguard_gpu_throttled:ratio_rate5m"
POOL_MARGIN = "pool:meltguard_gpu_thermal_margin_celsius"
POOL_NODES = "pool:meltguard_gpu_nodes:count"
POOL_GPUS_MAX = "pool:meltguard_pool_gpus_max:sum"
ACTIONS_FAILED_RATIO = "kind:meltguard_controller_actions_failed:ratio_rate10m"
RUNG = "region:meltguard_controller_rung:max"
CROSSINGS = "region:meltguard_controller_rung_crossings:changes1h"


def bridged(selector: str) -> str:
    """Return PromQL of a gauge that outlasts lost scrapes, of which one would set a long hold back to its beginning.

    Args:
        selector: The gauge.

    Returns:
        Its last value within four scrapes.
    """
    return f"last_over_time({selector}[1m])"


def of_leader(vector: str) -> str:
    """Return PromQL of a vector as the leader says it.

    A replica that led once goes on showing the rung, the nodes and the inputs of its last pass.
    """
    return f"({vector} and on (cluster, job, instance) {bridged('meltguard_controller_leader')} == 1)"


# Stock dcgm-exporter has no margin; its slowdown limit is an optional field. Its labels are brought to ours.
_DCGM_MARGIN = (
    'label_replace(label_replace(DCGM_FI_DEV_SLOWDOWN_TEMP - DCGM_FI_DEV_GPU_TEMP, "uuid", "$1", "UUID", "(.+)"),'
    ' "node", "$1", "Hostname", "(.+)")'
)

_PER_GPU: tuple[Recording, ...] = (
    Recording(
        record=MARGIN,
        expr=f"min by ({GPU}) (meltguard_gpu_thermal_margin_celsius)\nor on (cluster, uuid)\n"
        f"min by ({GPU}) ({_DCGM_MARGIN})",
    ),
    Recording(
        record=THROTTLED,
        expr=f"sum by ({GPU}, reason) (\n"
        '  rate(meltguard_gpu_throttled_seconds_total{reason=~"sw_thermal|hw_thermal|hw_power_brake"}[5m])\n)',
    ),
)

_PER_POOL: tuple[Recording, ...] = (
    Recording(record=f"{POOL_MARGIN}:min", expr=f"min by ({POOL}) ({MARGIN})"),
    Recording(record=f"{POOL_MARGIN}:p10", expr=f"quantile by ({POOL}) (0.1, {MARGIN})"),
    Recording(record=f"{POOL_MARGIN}:p50", expr=f"quantile by ({POOL}) (0.5, {MARGIN})"),
    Recording(
        record=POOL_NODES,
        expr=f"count by ({POOL}) (group by ({NODE}) (meltguard_gpu_up) or group by ({NODE}) ({MARGIN}))",
    ),
    Recording(
        record="pool:meltguard_gpu_nodes_low_margin:count",
        expr=f"count by ({POOL}) (min by ({NODE}) ({MARGIN}) <= on ({POOL}) group_left () {POOL_MARGIN}:p10)",
    ),
    Recording(record="pool:meltguard_gpus:count", expr=f"count by ({POOL}) (meltguard_gpu_up)"),
    Recording(record="pool:meltguard_gpus_up:sum", expr=f"sum by ({POOL}) (meltguard_gpu_up)"),
    Recording(
        record="pool:meltguard_gpu_seconds_to_slowdown:min", expr=f"min by ({POOL}) (meltguard_gpu_seconds_to_slowdown)"
    ),
    Recording(record="pool:meltguard_gpu_power_watts:sum", expr=f"sum by ({POOL}) (meltguard_gpu_power_watts)"),
    Recording(record="pool:meltguard_gpu_power_watts:avg", expr=f"avg by ({POOL}) (meltguard_gpu_power_watts)"),
    Recording(
        record="pool:meltguard_gpu_power_limit_watts:sum", expr=f"sum by ({POOL}) (meltguard_gpu_power_limit_watts)"
    ),
    Recording(
        record="pool:meltguard_gpu_throttled_by_heat:ratio",
        expr=f'avg by ({POOL}) (max by ({GPU}) (meltguard_gpu_throttled{{reason=~"sw_thermal|hw_thermal"}}))',
    ),
    Recording(
        record="pool:meltguard_gpu_thermal_resistance_celsius_per_watt:p95",
        expr=f"quantile by ({POOL}) (0.95, meltguard_gpu_thermal_resistance_celsius_per_watt)",
    ),
    Recording(
        record="pool:meltguard_gpu_inlet_temperature_estimate_celsius:p95",
        expr=f"quantile by ({POOL}) (0.95, meltguard_gpu_inlet_temperature_estimate_celsius)",
    ),
    Recording(
        record="pool:meltguard_gpu_sustainable_power_watts:p10",
        expr=f"quantile by ({POOL}) (0.1, meltguard_gpu_sustainable_power_watts)",
    ),
)

_LIMIT = of_leader(bridged('meltguard_pool_nodes_limit{bound="max"}'))
_DESIRED = of_leader(bridged('meltguard_pool_nodes{state="desired"}'))
_GPUS_PER_NODE = of_leader(bridged("meltguard_pool_gpus_per_node"))
_SERVING = of_leader(bridged('meltguard_pool_nodes{state="serving"}'))

_CONTROLLER: tuple[Recording, ...] = (
    Recording(record=RUNG, expr=f"max by ({REGION}) {of_leader('meltguard_controller_rung')}"),
    Recording(
        record=POOL_GPUS_MAX,
        expr=f"max by ({POOL}) {_LIMIT}\n  * on ({POOL}) max by ({POOL}) {_GPUS_PER_NODE}",
    ),
    Recording(
        record="pool:meltguard_pool_nodes_waited_for:count",
        expr=f"max by ({POOL}) {_DESIRED}\n  - on ({POOL}) max by ({POOL}) {_SERVING}",
    ),
    Recording(
        record=ACTIONS_FAILED_RATIO,
        expr=f'sum by (cluster, kind) (rate(meltguard_controller_actions_total{{result=~"{FAILED_RESULTS}"}}[10m]))\n'
        "  / (sum by (cluster, kind) (rate(meltguard_controller_actions_total[10m])) > 0)",
    ),
)


def _crossings() -> tuple[Recording, ...]:
    rungs = range(round(RUNG_USERS_NOTICE.value), round(RUNG_LAST_AUTOMATIC.value) + 1)
    return tuple(
        Recording(
            record=CROSSINGS,
            expr=f"changes((max by ({REGION}) {of_leader('meltguard_controller_rung')} >= bool {rung})[1h:30s])",
            labels={"rung": str(rung)},
        )
        for rung in rungs
    )


GPU_RECORDINGS: tuple[Recording, ...] = _PER_GPU + _PER_POOL
CONTROLLER_RECORDINGS: tuple[Recording, ...] = _CONTROLLER + _crossings()
