"""The removal of an exporter, of the leader or of a rule file is itself noticed, each a real process or file.

The loss of an Alertmanager stands in ``test_alerting_watched``. Time is accelerated, see ``tests.accelerated_rules``;
how soon the shipped rules call is in docs/reference/alert-noise.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.accelerated_rules import accelerated_files
from tests.exporter_process import ExporterProcess, running_exporter
from tests.operator_cluster import cluster_of
from tests.operator_process import OperatorProcess
from tools.monitoring.recordings import EXPORTER_JOB, OPERATOR_JOB
from tools.real_parts.processes import MissingPartError
from tools.real_parts.servers import PrometheusServer, running_prometheus

pytestmark = [pytest.mark.real_parts, pytest.mark.slow, pytest.mark.timeout(300)]

WAIT_SECONDS = 60.0


@dataclass
class Rig:
    """What runs."""

    prometheus: PrometheusServer
    rules: Path
    exporters: tuple[ExporterProcess, ExporterProcess]
    leader: OperatorProcess

    def firing(self) -> set[tuple[str, str]]:
        """Return the alerts that fire, with what is special of them: the instance or the rule file."""
        return {
            (each["labels"]["alertname"], each["labels"].get("rules") or each["labels"].get("instance", ""))
            for each in self.prometheus.alerts()
            if each["state"] == "firing" and each["labels"]["alertname"] != "Watchdog"
        }


@pytest.fixture
def rig(control_plane, tmp_path: Path, wait_until: Callable[..., None]) -> Iterator[Rig]:
    """Two exporters, an operator that leads, and Prometheus with every rule file; nothing fires."""
    rules = tmp_path / "rules"
    for folder in (rules, tmp_path / "one", tmp_path / "two", tmp_path / "prometheus"):
        folder.mkdir()
    for name, text in accelerated_files().items():
        (rules / name).write_text(text, encoding="utf-8")
    with ExitStack() as stack:
        exporters = tuple(
            stack.enter_context(running_exporter("--source", "simulated:2", "--node", name, directory=tmp_path / name))
            for name in ("one", "two")
        )
        try:
            prometheus = stack.enter_context(running_prometheus(tmp_path / "prometheus", rule_files=[rules / "*.yaml"]))
        except MissingPartError as error:
            pytest.skip(str(error))
        cluster = stack.enter_context(cluster_of(control_plane, tmp_path))
        kubeconfig = cluster.account.kubeconfig_at(control_plane.url)
        leader = OperatorProcess(kubeconfig, cluster.namespace, prometheus.url, "--period=500ms")
        stack.callback(lambda: leader.process.poll() is None and leader.kill())
        wait_until(lambda: leader.get("/readyz")[0] == 200, timeout_seconds=WAIT_SECONDS)
        place = {"region": "eu", "pool": "h200"}
        addresses = tuple(exporter.address.removeprefix("http://") for exporter in exporters)
        prometheus.scrape_groups(
            {addresses: {"job": EXPORTER_JOB, **place}, (leader.listening["address"],): {"job": OPERATOR_JOB}}
        )
        made = Rig(prometheus=prometheus, rules=rules, exporters=exporters, leader=leader)
        wait_until(lambda: prometheus.query("up == 1") and len(prometheus.query("up == 1")) == 3)
        wait_until(lambda: not made.firing(), timeout_seconds=WAIT_SECONDS)
        yield made


def test_each_part_that_goes_is_named_by_an_alert(rig: Rig, wait_until: Callable[..., None]):
    """One exporter, then the leader, then a rule file: each loss fires its own alert, which names what is gone."""
    gone = rig.exporters[1]
    gone.process.terminate()
    exporter_down = ("GPUExporterDown", gone.address.removeprefix("http://"))
    wait_until(lambda: exporter_down in rig.firing(), timeout_seconds=WAIT_SECONDS)
    assert not any(name in ("ControllerNoLeader", "MonitoringRulesMissing") for name, _ in rig.firing())

    rig.leader.kill()
    wait_until(lambda: ("ControllerNoLeader", "") in rig.firing(), timeout_seconds=WAIT_SECONDS)

    (rig.rules / "hardware.yaml").unlink()
    rig.prometheus.reload()
    wait_until(lambda: ("MonitoringRulesMissing", "hardware") in rig.firing(), timeout_seconds=WAIT_SECONDS)
    assert exporter_down in rig.firing()
