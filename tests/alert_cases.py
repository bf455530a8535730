"""Courses of series that make each alert fire, and courses that look like it and must not. Used with promtool.

Samples stand 15 s apart, in the budgets' cases 60 s. ``fires`` is the first evaluation at which the alert fires; one
step earlier it must not. Rates are chosen so that Prometheus 2 and 3, whose ranges differ by one sample, agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tools.monitoring.model import duration_seconds

STEP_SECONDS = 15
POOL = 'cluster="c",region="eu",pool="h200"'
REGION = 'cluster="c",region="eu"'
EXPORTER = 'job="meltguard-exporter"'


@dataclass(frozen=True, kw_only=True)
class Case:
    """One course of series and what an alert makes of it.

    Attributes:
        alert: Its name.
        why: The rule in a few words, for the test's name.
        series: Values by series, in promtool's notation.
        fires: When it fires first; None: not up to ``until``.
        until: How far a silent case is looked at.
        where: Matchers that choose one of several rules of the name.
        count: How many of them fire then.
        step: Distance of samples and evaluations, seconds.
        files: Stems of the rule files that are loaded; empty for those that the alert needs.
        ends: When it no longer fires, if that is part of the rule.
    """

    alert: str
    why: str
    series: dict[str, str] = field(default_factory=dict)
    fires: str | None = None
    until: str = "30m"
    where: str = ""
    count: int = 1
    step: int = STEP_SECONDS
    files: tuple[str, ...] = ()
    ends: str | None = None


def hold(value: object, duration: str, step: int = STEP_SECONDS) -> str:
    """Return a value for a duration; it must be a whole number of steps."""
    return f"{value}x{duration_seconds(duration) // step - 1}"


def rise(start: float, per_step: float, duration: str, step: int = STEP_SECONDS) -> str:
    """Return a counter that rises from ``start``, its first sample, by ``per_step``."""
    return f"{start}+{per_step}x{duration_seconds(duration) // step - 1}"


def gpu(metric: str, node: str = "n1", index: int = 0, labels: str = "") -> str:
    """Return the series of one GPU."""
    more = f",{labels}" if labels else ""
    return f'{metric}{{{POOL},node="{node}",gpu="{index}",uuid="GPU-{node}-{index}"{more}}}'


def of_nodes(metric: str, nodes: Iterable[str], values: str, labels: str = "") -> dict[str, str]:
    """Return the same values for one GPU of each node."""
    return {gpu(metric, node, 0, labels): values for node in nodes}


MARGIN = "meltguard_gpu_thermal_margin_celsius"
THROTTLED = "meltguard_gpu_throttled_seconds_total"
UP = "meltguard_gpu_up"
XID = "meltguard_gpu_xid_last_timestamp_seconds"
RUNG = f"meltguard_controller_rung{{{REGION}}}"
# Flat for five minutes, then slowed down for 14 s of every 15 s.
SLOWED = "0x20 14+14x80"
NODES = ("n1", "n2", "n3")
MANY_NODES = tuple(f"n{number}" for number in range(120))


def _healthy(nodes: Iterable[str]) -> dict[str, str]:
    return of_nodes(UP, nodes, hold(1, "1h"), 'reason="ok"')


def _heat() -> Iterator[Case]:
    yield Case(
        alert="GPUThermalMarginLow",
        why="a margin below 5 °C for two minutes",
        series={gpu(MARGIN): f"{hold(20, '2m')} {hold(4, '20m')}", gpu(MARGIN, index=1): hold(20, "22m")},
        fires="4m",
    )
    dcgm = f'{POOL},Hostname="n1",gpu="0",UUID="GPU-1",modelName="H100"'
    yield Case(
        alert="GPUThermalMarginLow",
        why="stock dcgm-exporter is enough",
        series={
            f"DCGM_FI_DEV_GPU_TEMP{{{dcgm}}}": hold(84, "20m"),
            f"DCGM_FI_DEV_SLOWDOWN_TEMP{{{dcgm}}}": hold(87, "20m"),
        },
        fires="2m",
        where='node="n1",uuid="GPU-1"',
    )
    yield Case(
        alert="GPUThermalMarginLow",
        why="a burst of under two minutes, and a card that is hot by design",
        series={
            gpu(MARGIN): f"{hold(20, '2m')} {hold(1, '1m45s')} {hold(9, '20m')}",
            gpu(MARGIN, index=1): hold(5, "22m"),
        },
    )
    yield Case(
        alert="GPUThermalSlowdownActive",
        why="one GPU, a ticket",
        series={gpu(THROTTLED, labels='reason="sw_thermal"'): SLOWED, **_healthy(NODES)},
        fires="7m15s",
        where='scope="gpu",severity="warning",gpu="0"',
    )
    yield Case(
        alert="GPUThermalSlowdownActive",
        why="two nodes of three, a page",
        series={**of_nodes(THROTTLED, NODES[:2], SLOWED, 'reason="hw_thermal"'), **_healthy(NODES)},
        fires="7m15s",
        where='scope="pool",severity="critical",pool="h200"',
    )
    yield Case(
        alert="GPUThermalSlowdownActive",
        why="a power cap is no heat",
        series={gpu(THROTTLED, labels='reason="sw_power_cap"'): SLOWED, **_healthy(NODES)},
    )
    eight = {gpu(THROTTLED, index=index, labels='reason="hw_thermal"'): SLOWED for index in range(8)}
    yield Case(
        alert="GPUThermalSlowdownActive",
        why="all GPUs of one node are no page",
        series={**eight, **_healthy(NODES)},
        where='severity="critical"',
    )
    yield Case(
        alert="GPUThermalSlowdownActive",
        why="two nodes of 120 are no page",
        series={**of_nodes(THROTTLED, MANY_NODES[:2], SLOWED, 'reason="hw_thermal"'), **_healthy(MANY_NODES)},
        where='severity="critical"',
    )
    soon = f"{hold(9999, '2m')} {hold(200, '20m')}"
    seconds = "meltguard_gpu_seconds_to_slowdown"
    yield Case(
        alert="GPUThermalSlowdownPredicted",
        why="slowdown within 300 s and the region on rung 1",
        series={gpu(seconds): soon, RUNG: hold(1, "22m")},
        fires="5m",
    )
    yield Case(
        alert="GPUThermalSlowdownPredicted",
        why="nobody reports a rung",
        series={gpu(seconds): soon},
        fires="5m",
    )
    yield Case(
        alert="GPUThermalSlowdownPredicted",
        why="the region is already on rung 2, or it is more than 300 s away",
        series={gpu(seconds): soon, gpu(seconds, node="n2"): hold(301, "22m"), RUNG: hold(2, "22m")},
    )


def _power() -> Iterator[Case]:
    yield Case(
        alert="GPUPowerBrakeActive",
        why="one GPU, a ticket",
        series={gpu(THROTTLED, labels='reason="hw_power_brake"'): SLOWED, **_healthy(NODES)},
        fires="10m45s",
        where='scope="gpu",severity="warning"',
    )
    yield Case(
        alert="GPUPowerBrakeActive",
        why="two nodes, a page",
        series={**of_nodes(THROTTLED, NODES[:2], SLOWED, 'reason="hw_power_brake"'), **_healthy(NODES)},
        fires="10m45s",
        where='scope="pool",severity="critical"',
    )
    yield Case(
        alert="GPUPowerBrakeActive",
        why="a test of two minutes, and the software power cap",
        series={
            gpu(THROTTLED, labels='reason="hw_power_brake"'): f"0x20 14+14x7 {hold(112, '20m')}",
            gpu(THROTTLED, index=1, labels='reason="sw_power_cap"'): SLOWED,
            **_healthy(NODES),
        },
    )


def _faults() -> Iterator[Case]:
    event = f"_x8 {hold(120, '2h')}"
    hardware = 'class="hardware",xid="79"'
    yield Case(
        alert="GPUHardwareXid",
        why="a hardware XID that is born with its first event, for half an hour and half an hour more",
        series={gpu(XID, labels=hardware): event, **_healthy(NODES)},
        fires="2m",
        where='scope="gpu",xid="79"',
        ends="1h2m",
    )
    yield Case(
        alert="GPUHardwareXid",
        why="two nodes, a page",
        series={**of_nodes(XID, NODES[:2], event, hardware), **_healthy(NODES)},
        fires="3m",
        where='scope="pool",severity="critical"',
    )
    yield Case(
        alert="GPUHardwareXid",
        why="a storm of application XIDs",
        series={**of_nodes(XID, NODES, rise(0, 15, "30m"), 'class="application",xid="31"'), **_healthy(NODES)},
    )
    ecc = "meltguard_gpu_ecc_errors_total"
    yield Case(
        alert="GPUUncorrectableMemoryError",
        why="an uncorrected error",
        series={gpu(ecc, labels='kind="uncorrected"'): f"{hold(0, '5m')} {hold(1, '2h')}"},
        fires="5m",
    )
    yield Case(
        alert="GPUUncorrectableMemoryError",
        why="a failed row remap",
        series={gpu("meltguard_gpu_row_remap_failed"): f"{hold(0, '5m')} {hold(1, '1h')}"},
        fires="5m",
    )
    yield Case(
        alert="GPUUncorrectableMemoryError",
        why="corrected errors, an old error and a remap that waits for its reset",
        series={
            gpu(ecc, labels='kind="corrected"'): rise(0, 40, "30m"),
            gpu(ecc, labels='kind="uncorrected"'): hold(7, "30m"),
            gpu("meltguard_gpu_row_remap_pending"): hold(1, "30m"),
        },
    )
    lost = f"_x8 {hold(0, '1m')} stale"
    missing = f"_x12 {hold(0, '20m')}"
    yield Case(
        alert="GPUMissing",
        why="lost, then missing: two minutes in all",
        series={
            gpu(UP, labels='reason="lost"'): lost,
            gpu(UP, labels='reason="missing"'): missing,
            **_healthy(NODES[1:]),
        },
        fires="4m",
        where='scope="gpu"',
    )
    yield Case(
        alert="GPUMissing",
        why="two nodes, a page",
        series={**of_nodes(UP, NODES[:2], f"_x8 {hold(0, '20m')}", 'reason="lost"'), **_healthy(NODES[2:])},
        fires="4m",
        where='scope="pool",severity="critical"',
    )
    yield Case(
        alert="GPUMissing",
        why="a GPU that hangs is stale telemetry, and a GPU that comes back is nothing",
        series={
            gpu(UP, labels='reason="stuck"'): hold(0, "30m"),
            gpu(UP, index=1, labels='reason="lost"'): f"{hold(0, '1m45s')} stale",
        },
    )


def _telemetry() -> Iterator[Case]:
    target = f'{EXPORTER},{POOL},node="n1",instance="n1:9400"'
    other = f'{EXPORTER},{POOL},node="n2",instance="n2:9400"'
    third = f'{EXPORTER},{POOL},node="n3",instance="n3:9400"'
    yield Case(
        alert="GPUExporterDown",
        why="a scrape that fails for three minutes",
        series={f"up{{{target}}}": f"{hold(1, '2m')} {hold(0, '20m')}", f"up{{{other}}}": hold(1, "22m")},
        fires="5m",
        where='scope="target"',
    )
    ready = f'meltguard_pool_nodes{{{POOL},state="ready"}}'
    yield Case(
        alert="GPUExporterDown",
        why="a ready node without a target",
        series={
            f"up{{{target}}}": f"{hold(1, '2m')} stale",
            f"up{{{other}}}": hold(1, "30m"),
            ready: hold(2, "30m"),
        },
        fires="12m",
        where='scope="discovery"',
    )
    yield Case(
        alert="GPUExporterDown",
        why="a restart of two minutes, and a node that was given back",
        series={
            f"up{{{target}}}": f"{hold(1, '2m')} {hold(0, '2m')} {hold(1, '20m')}",
            f"up{{{other}}}": f"{hold(1, '5m')} stale",
            ready: f"{hold(2, '5m')} {hold(1, '20m')}",
        },
    )
    said = f'meltguard_pool_nodes{{{POOL},instance="%s",state="ready"}}'
    leads = 'meltguard_controller_leader{cluster="c",instance="%s"}'
    yield Case(
        alert="GPUExporterDown",
        why="a replica that led once still counts a node that was given back",
        series={
            f"up{{{target}}}": hold(1, "30m"),
            said % "old": hold(2, "30m"),
            said % "new": hold(1, "30m"),
            leads % "old": hold(0, "30m"),
            leads % "new": hold(1, "30m"),
        },
    )
    age = f"meltguard_exporter_snapshot_age_seconds{{{target}}}"
    yield Case(
        alert="GPUTelemetryStale",
        why="answers that are older than 30 s",
        series={age: f"{hold(1, '2m')} {rise(20, 15, '10m')}", f"up{{{target}}}": hold(1, "12m")},
        fires="3m15s",
        where='scope="exporter"',
    )
    yield Case(
        alert="GPUTelemetryStale",
        why="two GPUs that hang",
        series={gpu(UP, index=index, labels='reason="stuck"'): f"_x8 {hold(0, '20m')}" for index in range(2)}
        | {gpu(UP, index=7, labels='reason="ok"'): hold(1, "22m")},
        fires="4m",
        where='scope="gpu"',
    )
    yield Case(
        alert="GPUTelemetryStale",
        why="an answer that is slow, and a GPU that is lost rather than hung",
        series={age: hold(25, "30m"), gpu(UP, labels='reason="lost"'): hold(0, "30m")},
    )
    yield Case(alert="GPUFleetTelemetryAbsent", why="no target at all", fires="5m", where='scope="fleet"')
    yield Case(
        alert="GPUFleetTelemetryAbsent",
        why="targets, and all of them down",
        series={f"up{{{each}}}": f"{hold(1, '2m')} {hold(0, '20m')}" for each in (target, other)},
        fires="7m",
        where='scope="fleet"',
    )
    yield Case(
        alert="GPUFleetTelemetryAbsent",
        why="two exporters of three down",
        series={f"up{{{target}}}": hold(1, "22m")}
        | {f"up{{{each}}}": f"{hold(1, '2m')} {hold(0, '20m')}" for each in (other, third)},
        fires="7m",
        where='scope="pool"',
    )
    yield Case(
        alert="GPUFleetTelemetryAbsent",
        why="one exporter of two down is half of them",
        series={f"up{{{target}}}": hold(1, "30m"), f"up{{{other}}}": hold(0, "30m")},
    )


HARDWARE_CASES: tuple[Case, ...] = (*_heat(), *_power(), *_faults(), *_telemetry())
