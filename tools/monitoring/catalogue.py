"""The whole catalogue: groups of rules by file. What is written, linted, tested and documented starts here. Pure."""

from __future__ import annotations

from tools.monitoring.controller_alerts import CONTROLLER_ALERTS
from tools.monitoring.forecast_alerts import FORECAST_ALERTS
from tools.monitoring.hardware_alerts import HARDWARE_ALERTS
from tools.monitoring.inference_alerts import INFERENCE_ALERTS
from tools.monitoring.meta_alerts import loaded_mark, meta_alerts
from tools.monitoring.model import Alert, Group, Recording
from tools.monitoring.recordings import CONTROLLER_RECORDINGS, GPU_RECORDINGS
from tools.monitoring.slo import slo_recordings
from tools.monitoring.telemetry_alerts import TELEMETRY_ALERTS

TEAM = "gpu-platform"
RUNBOOKS_URL = "https://meltguard.dev/runbooks"
"""Where the runbooks are published; `python -m tools.monitoring --runbooks-url` writes another one."""
DASHBOARDS_URL = "https://grafana.example.com/d"
"""Where the dashboards are; `--dashboards-url` writes another one."""

_FILES = ("recording", "objectives", "hardware", "telemetry", "forecast", "controller", "inference")


def _alerts(file: str, alerts: tuple[Alert, ...], interval: str = "15s") -> Group:
    return Group(name=f"meltguard.{file}", file=file, interval=interval, rules=(loaded_mark(file), *alerts))


GROUPS: tuple[Group, ...] = (
    Group(
        name="meltguard.recording.gpu",
        file="recording",
        interval="5s",
        rules=(loaded_mark("recording"), *GPU_RECORDINGS),
    ),
    Group(name="meltguard.recording.controller", file="recording", interval="15s", rules=CONTROLLER_RECORDINGS),
    Group(
        name="meltguard.objectives",
        file="objectives",
        interval="30s",
        rules=(loaded_mark("objectives"), *slo_recordings()),
    ),
    _alerts("hardware", HARDWARE_ALERTS),
    _alerts("telemetry", TELEMETRY_ALERTS),
    _alerts("forecast", FORECAST_ALERTS),
    _alerts("controller", CONTROLLER_ALERTS),
    _alerts("inference", INFERENCE_ALERTS),
    Group(name="meltguard.meta", file="meta", interval="15s", rules=meta_alerts(_FILES)),
)
"""In the order in which they build on each other."""

ALERTS: tuple[Alert, ...] = tuple(rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert))
RECORDINGS: tuple[Recording, ...] = tuple(
    rule for group in GROUPS for rule in group.rules if isinstance(rule, Recording)
)
ALERT_NAMES: tuple[str, ...] = tuple(dict.fromkeys(alert.name for alert in ALERTS))
