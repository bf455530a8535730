"""Alerting watches itself: the loss of an Alertmanager is told by the other one, from Prometheus's own metrics."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.accelerated_rules import accelerated_files
from tools.real_parts.processes import MissingPartError
from tools.real_parts.servers import running_alertmanager, running_prometheus

pytestmark = pytest.mark.real_parts

WAIT_SECONDS = 30.0


def _told(webhook: Any, alert: str, status: str) -> dict[str, Any]:
    """Wait for a notification of an alert with a status and return that alert."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        for each in json.loads(webhook.wait(timeout_seconds=WAIT_SECONDS))["alerts"]:
            if (each["labels"]["alertname"], each["status"]) == (alert, status):
                found: dict[str, Any] = each
                return found
    raise AssertionError(f"{alert} was not {status} within {WAIT_SECONDS:.0f} s")


def test_the_loss_of_one_alertmanager_is_told_by_the_other(tmp_path: Path, webhook: Any):
    """Of two Alertmanagers one is killed: the other notifies that alerts are lost, and says which one is gone."""
    folders = {name: tmp_path / name for name in ("stays", "goes", "prometheus", "rules")}
    for folder in folders.values():
        folder.mkdir()
    (folders["rules"] / "meta.yaml").write_text(accelerated_files()["meta.yaml"], encoding="utf-8")
    with ExitStack() as stack:
        try:
            stays = stack.enter_context(running_alertmanager(folders["stays"], webhook_url=webhook.url))
            goes = stack.enter_context(running_alertmanager(folders["goes"], webhook_url="http://127.0.0.1:9/"))
            prometheus = stack.enter_context(
                running_prometheus(
                    folders["prometheus"],
                    rule_files=[folders["rules"] / "meta.yaml"],
                    alertmanager_address=[stays.address, goes.address],
                    arguments=["--rules.alert.resend-delay=1s"],
                )
            )
        except MissingPartError as error:
            pytest.skip(str(error))
        prometheus.scrape(prometheus.url.removeprefix("http://"), labels={"job": "prometheus"})
        _told(webhook, "Watchdog", "firing")
        goes.process.kill()
        told = _told(webhook, "AlertDeliveryFailing", "firing")
        assert goes.address in told["labels"]["alertmanager"]
        assert goes.address in told["annotations"]["summary"]
