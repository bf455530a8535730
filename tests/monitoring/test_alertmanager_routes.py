"""Who is told of which alert, asked of amtool; and that inhibitions name alerts and labels that exist."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.alertmanager_config import CONFIGURATION
from tools.monitoring.catalogue import ALERT_NAMES, ALERTS, RECORDINGS
from tools.monitoring.labels import LabelReader
from tools.monitoring.model import Severity
from tools.monitoring.promql import parse
from tools.monitoring.render import alert_labels

RECEIVERS = {
    Severity.CRITICAL: "pager",
    Severity.WARNING: "tickets",
    Severity.INFO: "nobody",
    Severity.NONE: "dead-mans-switch",
}
CONFIG = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
READER = LabelReader(RECORDINGS)


def test_the_configuration_is_accepted(amtool):
    """Alertmanager accepts the configuration and its templates."""
    command = [amtool, "check-config", str(CONFIGURATION)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 templates" in done.stdout


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name} {alert.severity} {alert.labels}")
def test_an_alert_reaches_whom_its_severity_names(alert, amtool):
    """Critical pages, warning opens a ticket, info reaches nobody, and the Watchdog its switch; and only these."""
    labels = [f"{name}={value}" for name, value in {"alertname": alert.name, **alert_labels(alert)}.items()]
    command = [amtool, "config", "routes", "test", f"--config.file={CONFIGURATION}", *labels]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == [RECEIVERS[alert.severity]]


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=lambda rule: " ".join(rule["source_matchers"]))
def test_inhibitions_name_alerts_and_labels_that_exist(rule):
    """Every alert that an inhibition names exists, and both sides can have the labels that must be equal."""
    sides = []
    for matchers in (rule["source_matchers"], rule["target_matchers"]):
        named = [name for text in matchers for name in re.findall(r"alertname=~?\"([^\"]+)\"", text)]
        names = [name for each in named for name in each.split("|")]
        assert set(names) <= set(ALERT_NAMES)
        sides.append(names)
    for names in sides:
        for alert in (alert for alert in ALERTS if alert.name in names):
            if alert.labels.get("scope") in ("fleet", "target", "exporter") or alert.name.startswith("Controller"):
                continue
            labels = READER.of(parse(alert.expr)) | {"cluster", "alertname"}
            if "uuid" in rule["equal"] and alert.labels.get("scope") != "pool":
                assert "uuid" in labels, alert.name


def test_the_heartbeat_is_faster_than_its_interval():
    """The Watchdog is repeated in every group interval, because the repeat is a little shorter than it."""
    (route,) = (each for each in CONFIG["route"]["routes"] if each["receiver"] == "dead-mans-switch")
    assert (route["group_interval"], route["repeat_interval"]) == ("1m", "50s")
