"""Alerts on the telemetry: exporters that are gone, hang, or were never found. Pure."""

from __future__ import annotations

from tools.monitoring.model import Alert, Board, Component, Severity
from tools.monitoring.recordings import EXPORTER_JOB, NODE, POOL, bridged, of_leader
from tools.monitoring.thresholds import BLIND_SHARE, SNAPSHOT_AGE
from tools.monitoring.wording import CONTROLLER_IN_FLEET, CONTROLLER_IN_REGION

_UP = f'up{{job="{EXPORTER_JOB}"}}'
_HOLDS = (
    "The controller treats what it cannot see as unknown: it neither lifts limits nor gives nodes back on such data. "
)
_FROZEN = f"max by ({NODE}, instance) (meltguard_exporter_snapshot_age_seconds) > {SNAPSHOT_AGE}"
_UNREAD = (
    f"count by ({NODE}) (max by ({NODE}, uuid)"
    ' (meltguard_gpu_up{reason=~"stuck|stale|implausible|driver_gone|no_library|collector_stuck"}) == 0) > 0'
)

_READY = of_leader(bridged('meltguard_pool_nodes{state="ready"}'))

TELEMETRY_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="GPUExporterDown",
        severity=Severity.WARNING,
        component=Component.TELEMETRY,
        board=Board.PIPELINE,
        expr=f"{_UP} == 0",
        hold="3m",
        labels={"scope": "target"},
        summary="The GPU exporter at {{ $labels.instance }} cannot be scraped",
        description="Node {{ $labels.node }} is blind: no temperature, no margin, no XIDs from it.",
        controller=_HOLDS + CONTROLLER_IN_REGION,
        why="a rolling update of the DaemonSet restarts an exporter in seconds",
    ),
    Alert(
        name="GPUExporterDown",
        severity=Severity.WARNING,
        component=Component.TELEMETRY,
        board=Board.PIPELINE,
        expr=f"max by ({POOL}) {_READY}\n  - on ({POOL}) count by ({POOL}) ({_UP}) > 0",
        hold="10m",
        labels={"scope": "discovery"},
        summary="{{ $value | humanize }} ready nodes of pool {{ $labels.pool }} have no exporter that Prometheus knows",
        description="The DaemonSet has no pod there, or the PodMonitor does not select it.",
        controller=_HOLDS + CONTROLLER_IN_REGION,
        why="a new node takes minutes to get its exporter; a target that vanished leaves no up == 0 behind",
    ),
    Alert(
        name="GPUTelemetryStale",
        severity=Severity.WARNING,
        component=Component.TELEMETRY,
        board=Board.PIPELINE,
        expr=_FROZEN,
        hold="1m",
        keep="2m",
        labels={"scope": "exporter"},
        summary="The exporter of node {{ $labels.node }} serves readings that are {{ $value | humanizeDuration }} old",
        description="It answers scrapes, but nothing behind it reads GPUs.",
        controller=_HOLDS + CONTROLLER_IN_REGION,
        why="a killed collector is replaced within seconds",
    ),
    Alert(
        name="GPUTelemetryStale",
        severity=Severity.WARNING,
        component=Component.TELEMETRY,
        board=Board.PIPELINE,
        expr=f"{_UNREAD}\nunless on (cluster, node) {_FROZEN}",
        hold="2m",
        keep="2m",
        labels={"scope": "gpu"},
        summary="{{ $value | humanize }} GPUs of node {{ $labels.node }} cannot be read",
        description="The driver hangs on them, or says what cannot be true; the node's other GPUs are read as usual.",
        controller=_HOLDS + CONTROLLER_IN_REGION,
        why="the exporter tries a hung GPU again after 5 s, 10 s and so on",
    ),
    Alert(
        name="GPUFleetTelemetryAbsent",
        severity=Severity.CRITICAL,
        component=Component.TELEMETRY,
        board=Board.PIPELINE,
        expr=f"absent({_UP})\nor sum by (job) ({_UP}) == 0",
        hold="5m",
        labels={"scope": "fleet"},
        summary="No GPU exporter is being scraped",
        description="Either Prometheus finds none of them or none answers; the whole fleet is blind.",
        controller=_HOLDS + CONTROLLER_IN_FLEET,
        why="a restart of Prometheus finds its targets again in a minute",
    ),
    Alert(
        name="GPUFleetTelemetryAbsent",
        severity=Severity.CRITICAL,
        component=Component.TELEMETRY,
        board=Board.PIPELINE,
        expr=f"sum by ({POOL}) ({_UP}) / count by ({POOL}) ({_UP}) < {BLIND_SHARE}",
        hold="5m",
        labels={"scope": "pool"},
        summary="Only {{ $value | humanizePercentage }} of the exporters of pool {{ $labels.pool }} answer",
        description="The pool's quantiles no longer say how hot it is.",
        controller=_HOLDS + CONTROLLER_IN_REGION,
        why="as above",
    ),
)
