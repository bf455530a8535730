"""Alerts on the hardware. One GPU is a ticket; several nodes of a pool at once are a page. Pure."""

from __future__ import annotations

from tools.monitoring.model import Alert, Board, Component, Severity
from tools.monitoring.recordings import GPU, MARGIN, NODE, POOL, POOL_NODES, RUNG, THROTTLED
from tools.monitoring.thresholds import (
    BRAKE_SHARE,
    COMMON_CAUSE_NODES,
    COMMON_CAUSE_SHARE,
    HEAT_SHARE,
    MARGIN_LOW,
    RUNG_BUYS_TIME,
    SLOWDOWN_SOON,
    XID_MEMORY,
)
from tools.monitoring.wording import CONTROLLER_IN_REGION, OUTLIER

_WHERE = "GPU {{ $labels.gpu }} of node {{ $labels.node }}"
_POOL = "pool {{ $labels.pool }}"
_SEVERAL = "{{ $value | humanize }} nodes of " + _POOL

_HEAT = f'max by ({GPU}) ({THROTTLED}{{reason=~"sw_thermal|hw_thermal"}}) > {HEAT_SHARE}'
_BRAKE = f'max by ({GPU}) ({THROTTLED}{{reason="hw_power_brake"}}) > {BRAKE_SHARE}'
_XID = f'time() - max by ({GPU}, xid) (meltguard_gpu_xid_last_timestamp_seconds{{class="hardware"}}) < {XID_MEMORY}'
_LOST = f'max by ({GPU}) (meltguard_gpu_up{{reason=~"lost|reset_required|missing|unidentified"}}) == 0'


def _common_cause(faulty: str) -> str:
    """Return PromQL that counts the nodes of a pool with a faulty GPU, where they are too many to be a coincidence."""
    nodes = f"count by ({POOL}) (group by ({NODE}) ({faulty}))"
    return (
        f"{nodes} >= {COMMON_CAUSE_NODES}\nand on ({POOL})\n{nodes} / on ({POOL}) {POOL_NODES} > {COMMON_CAUSE_SHARE}"
    )


HARDWARE_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="GPUThermalMarginLow",
        severity=Severity.WARNING,
        component=Component.HARDWARE,
        board=Board.THERMAL,
        expr=f"{MARGIN} < {MARGIN_LOW}",
        hold="2m",
        keep="5m",
        summary=f"{_WHERE} is within {MARGIN_LOW.words} of slowing itself down",
        description="{{ $value | printf `%.1f` }} °C are left to the device's own first thermal intervention.",
        controller=CONTROLLER_IN_REGION,
        why="two minutes outlast the die's answer to a burst; the margin is the device's own, so a card that is hot by "
        "design stays quiet",
    ),
    Alert(
        name="GPUThermalSlowdownActive",
        severity=Severity.WARNING,
        component=Component.HARDWARE,
        board=Board.THERMAL,
        expr=_HEAT,
        hold="1m",
        keep="5m",
        labels={"scope": "gpu"},
        summary=f"{_WHERE} slows itself down for heat",
        description="It was slowed down for {{ $value | humanizePercentage }} of the last 5 minutes.",
        controller=OUTLIER,
        why="the share over five minutes already leaves out single excursions",
    ),
    Alert(
        name="GPUThermalSlowdownActive",
        severity=Severity.CRITICAL,
        component=Component.HARDWARE,
        board=Board.THERMAL,
        expr=_common_cause(_HEAT),
        hold="1m",
        keep="5m",
        labels={"scope": "pool"},
        summary=f"{_SEVERAL} slow themselves down for heat",
        description="Several nodes at once have a common cause: the room, the load, or limits that do not take effect.",
        controller=CONTROLLER_IN_REGION,
        why="as above; two nodes and 2 % of the pool rule out an outlier",
    ),
    Alert(
        name="GPUThermalSlowdownPredicted",
        severity=Severity.WARNING,
        component=Component.HARDWARE,
        board=Board.THERMAL,
        expr=f"min by ({GPU}) (meltguard_gpu_seconds_to_slowdown) < {SLOWDOWN_SOON}\n"
        f"unless on (cluster, region) {RUNG} >= {RUNG_BUYS_TIME}",
        hold="3m",
        keep="5m",
        summary=f"{_WHERE} will slow down within {SLOWDOWN_SOON.words} and no rung answers it",
        description="At present power the cautious estimate is {{ $value | humanizeDuration }}.",
        controller=CONTROLLER_IN_REGION,
        why="the controller passes every 10 s and may take two minutes to see a region's heat; then it is its turn",
    ),
    Alert(
        name="GPUPowerBrakeActive",
        severity=Severity.WARNING,
        component=Component.HARDWARE,
        board=Board.THERMAL,
        expr=_BRAKE,
        hold="3m",
        keep="10m",
        labels={"scope": "gpu"},
        summary=f"An external power brake slows {_WHERE}",
        description="The brake was on for {{ $value | humanizePercentage }} of the last 5 minutes.",
        controller=OUTLIER,
        why="tests of power supplies end before",
    ),
    Alert(
        name="GPUPowerBrakeActive",
        severity=Severity.CRITICAL,
        component=Component.HARDWARE,
        board=Board.THERMAL,
        expr=_common_cause(_BRAKE),
        hold="3m",
        keep="10m",
        labels={"scope": "pool"},
        summary=f"An external power brake slows {_SEVERAL}",
        description="The building takes power away from the racks; no reboot clears it.",
        controller=CONTROLLER_IN_REGION,
        why="as above; several nodes are a fault of the facility",
    ),
    Alert(
        name="GPUHardwareXid",
        severity=Severity.WARNING,
        component=Component.HARDWARE,
        board=Board.FLEET,
        expr=_XID,
        keep="30m",
        labels={"scope": "gpu"},
        summary=f"{_WHERE} reported hardware XID {{{{ $labels.xid }}}}",
        description="The last one was {{ $value | humanizeDuration }} ago. Application XIDs never fire this.",
        controller=OUTLIER,
        why="an event has no duration; its time stamp is used because increase() misses a counter that is born at one",
    ),
    Alert(
        name="GPUHardwareXid",
        severity=Severity.CRITICAL,
        component=Component.HARDWARE,
        board=Board.FLEET,
        expr=_common_cause(_XID),
        hold="1m",
        keep="30m",
        labels={"scope": "pool"},
        summary=f"{_SEVERAL} reported hardware XIDs within half an hour",
        description="A driver, a firmware or the power is the likelier cause than that many broken GPUs.",
        controller=CONTROLLER_IN_REGION,
        why="one minute lets a rolling restart of exporters pass",
    ),
    Alert(
        name="GPUUncorrectableMemoryError",
        severity=Severity.WARNING,
        component=Component.HARDWARE,
        board=Board.FLEET,
        expr=f'sum by ({GPU}) (increase(meltguard_gpu_ecc_errors_total{{kind="uncorrected"}}[15m])) > 0\n'
        f"or on (cluster, uuid) max by ({GPU}) (meltguard_gpu_row_remap_failed) == 1",
        keep="1h",
        summary=f"{_WHERE} has memory errors that cannot be corrected",
        description="The driver ended the work that met it; more will follow until the GPU is reset or replaced.",
        controller=OUTLIER,
        why="an event has no duration",
    ),
    Alert(
        name="GPUMissing",
        severity=Severity.WARNING,
        component=Component.HARDWARE,
        board=Board.FLEET,
        expr=_LOST,
        hold="2m",
        keep="5m",
        labels={"scope": "gpu"},
        summary=f"{_WHERE} no longer answers the driver",
        description="It fell off the bus, waits for a reset, or is not listed any more.",
        controller="Capacity is counted by nodes that serve; a replacement is ordered if the forecast needs it.",
        why="the exporter enumerates anew within two minutes",
    ),
    Alert(
        name="GPUMissing",
        severity=Severity.CRITICAL,
        component=Component.HARDWARE,
        board=Board.FLEET,
        expr=_common_cause(_LOST),
        hold="2m",
        keep="5m",
        labels={"scope": "pool"},
        summary=f"{_SEVERAL} have lost GPUs",
        description="Several nodes at once: a driver roll-out, the power, or the PCIe switches of one batch.",
        controller=CONTROLLER_IN_REGION,
        why="as above",
    ),
)
