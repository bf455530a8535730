"""What a real Alertmanager with the shipped configuration sends to PagerDuty, to Slack and to the dead man's switch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.alertmanager_config import ROUTING_KEY, loopback_configuration
from tools.monitoring.catalogue import ALERTS
from tools.monitoring.model import Alert
from tools.monitoring.render import alert_labels, rule_document
from tools.real_parts.processes import MissingPartError
from tools.real_parts.servers import AlertmanagerServer, running_alertmanager

pytestmark = pytest.mark.real_parts

WHERE = {"cluster": "test", "region": "eu-west", "pool": "h200"}


@pytest.fixture
def shipped_alertmanager(tmp_path: Path, webhook: Any) -> Iterator[AlertmanagerServer]:
    """An Alertmanager with the shipped configuration whose receivers are the fixture ``webhook``."""
    directory = tmp_path / "alertmanager"
    directory.mkdir()
    configuration = loopback_configuration(directory, webhook.url)
    try:
        with running_alertmanager(directory, webhook_url=webhook.url, configuration=configuration) as server:
            yield server
    except MissingPartError as error:
        pytest.skip(str(error))


def _rule(name: str, **labels: str) -> Alert:
    return next(
        each for each in ALERTS if each.name == name and all(alert_labels(each)[key] == labels[key] for key in labels)
    )


def _alert(name: str, rule: dict[str, str] | None = None, **labels: str) -> dict[str, Any]:
    """Return an alert as Prometheus would send it."""
    alert = _rule(name, **(rule or {}))
    annotations = {**rule_document(alert)["annotations"], "controller": "Rung 4 of 7 is in force in eu-west."}
    return {"labels": {"alertname": name, **alert_labels(alert), **WHERE, **labels}, "annotations": annotations}


def _receive(webhook: Any) -> dict[str, Any]:
    received: dict[str, Any] = json.loads(webhook.wait())
    return received


def test_a_page_says_what_where_and_what_the_controller_did(shipped_alertmanager, webhook):
    """PagerDuty is sent severity, place, what the controller did, and links to runbook and dashboard."""
    shipped_alertmanager.post_alerts([_alert("MitigationLadderExhausted")])
    page = _receive(webhook)
    assert page["routing_key"] == ROUTING_KEY
    assert page["event_action"] == "trigger"
    payload = page["payload"]
    assert payload["severity"] == "critical"
    assert payload["summary"] == "[FIRING:1] MitigationLadderExhausted eu-west h200 (test)"
    assert payload["class"] == "MitigationLadderExhausted"
    assert payload["custom_details"]["controller"] == "Rung 4 of 7 is in force in eu-west."
    links = {link["text"]: link["href"] for link in page["links"]}
    assert links["Runbook"].endswith("/MitigationLadderExhausted.md")
    assert links["Dashboard"].endswith("/meltguard-thermal")


def test_a_ticket_says_the_same_in_slack(shipped_alertmanager, webhook):
    """Slack is sent one message a pool with all of its GPUs, the controller's doing, and the runbook."""
    alerts = [_alert("GPUThermalMarginLow", uuid=f"GPU-{index}", gpu=str(index), node="n1") for index in range(12)]
    shipped_alertmanager.post_alerts(alerts)
    (attachment,) = _receive(webhook)["attachments"]
    assert attachment["title"] == "[FIRING:12] GPUThermalMarginLow eu-west h200 (test)"
    assert attachment["title_link"].endswith("/GPUThermalMarginLow.md")
    assert "Controller: Rung 4 of 7 is in force in eu-west." in attachment["text"]
    assert attachment["text"].count("°C are left") == 10
    assert "and 2 more." in attachment["text"]


def test_the_watchdog_feeds_the_switch_again_and_again(shipped_alertmanager, webhook):
    """The dead man's switch hears of the Watchdog at once; an alert that informs reaches nobody."""
    shipped_alertmanager.post_alerts([_alert("MitigationActive"), _alert("Watchdog")])
    heartbeat = _receive(webhook)
    assert heartbeat["receiver"] == "dead-mans-switch"
    assert heartbeat["groupLabels"]["alertname"] == "Watchdog"


@pytest.mark.parametrize(
    ("cause", "symptom"),
    [
        (
            _alert("GPUThermalSlowdownActive", {"scope": "pool"}),
            _alert("GPUThermalMarginLow", uuid="GPU-1", gpu="1", node="n1"),
        ),
        (
            _alert("GPUThermalSlowdownActive", {"scope": "pool"}),
            _alert("GPUThermalSlowdownActive", {"scope": "gpu"}, uuid="GPU-1", gpu="1", node="n1"),
        ),
        (_alert("ControllerNoLeader"), _alert("ControllerReconcileStalled")),
        (_alert("ControllerNoLeader"), _alert("ForecastStale")),
        (
            _alert("GPUFleetTelemetryAbsent", {"scope": "fleet"}),
            _alert("GPUExporterDown", {"scope": "target"}, node="n1"),
        ),
        (_alert("MitigationLadderExhausted"), _alert("MitigationFlapping")),
        (
            _alert("InferenceTTFTBudgetBurn", {"severity": "critical", "long": "1h"}),
            _alert("InferenceTTFTBudgetBurn", {"severity": "warning", "long": "1d"}),
        ),
        (
            _alert("GPUHardwareXid", {"scope": "gpu"}, uuid="GPU-1", gpu="1", node="n1"),
            _alert("GPUMissing", {"scope": "gpu"}, uuid="GPU-1", gpu="1", node="n1"),
        ),
    ],
    ids=lambda alert: alert["labels"]["alertname"],
)
def test_a_cause_silences_its_symptom_and_no_other(cause, symptom, shipped_alertmanager, wait_until):
    """The symptom in the same place is suppressed by its cause; the same symptom elsewhere is not."""
    elsewhere = {**symptom, "labels": {**symptom["labels"], "cluster": "other", "pool": "a100", "uuid": "GPU-9"}}
    shipped_alertmanager.post_alerts([cause, symptom, elsewhere])

    def states() -> dict[tuple[str, str, str], str]:
        return {
            (
                each["labels"]["alertname"],
                each["labels"]["cluster"],
                each["labels"].get("scope", each["labels"]["severity"]),
            ): each["status"]["state"]
            for each in shipped_alertmanager.alerts()
        }

    def key(alert: dict[str, Any]) -> tuple[str, str, str]:
        labels = alert["labels"]
        return labels["alertname"], labels["cluster"], labels.get("scope", labels["severity"])

    wait_until(lambda: states().get(key(symptom)) == "suppressed")
    assert states()[key(cause)] == "active"
    assert states()[key(elsewhere)] == "active"
