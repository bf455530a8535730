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

_FILES = ("hardware", "telemetry", "controller", "forecast", "objectives", "inference")


def _group(file: str, interval: str, *rules: Recording | Alert) -> Group:
    """Return a file's group: a series is recorded in the group of the alerts on it, so that none waits for another."""
    return Group(name=f"meltguard.{file}", file=file, interval=interval, rules=(loaded_mark(file), *rules))


GROUPS: tuple[Group, ...] = (
    _group("hardware", "5s", *GPU_RECORDINGS, *HARDWARE_ALERTS),
    _group("telemetry", "15s", *TELEMETRY_ALERTS),
    _group("controller", "15s", *CONTROLLER_RECORDINGS, *CONTROLLER_ALERTS),
    _group("forecast", "15s", *FORECAST_ALERTS),
    _group("objectives", "30s", *slo_recordings()),
    _group("inference", "15s", *INFERENCE_ALERTS),
    Group(name="meltguard.meta", file="meta", interval="15s", rules=meta_alerts(_FILES)),
)
"""In the order in which they build on each other."""

ALERTS: tuple[Alert, ...] = tuple(rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert))
RECORDINGS: tuple[Recording, ...] = tuple(
    rule for group in GROUPS for rule in group.rules if isinstance(rule, Recording)
)
ALERT_NAMES: tuple[str, ...] = tuple(dict.fromkeys(alert.name for alert in ALERTS))
