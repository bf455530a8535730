"""Every alert fires and resolves end to end: exporters, real Prometheus, shipped rules, real Alertmanager, webhook.

Heat and faults come from two real exporters on the driver stub, the rest from an exposition that stands in for operator
and inference pods. Time is accelerated as ``tests.accelerated_rules`` says.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.accelerated_rules import accelerated_files
from tests.exporter_process import ExporterProcess, running_exporter, running_states
from tests.nvml_stub.stub import StubState, build_stub
from tests.stub_exposition import StubExposition, running_stub
from tools.monitoring.catalogue import ALERTS
from tools.monitoring.model import Alert
from tools.monitoring.recordings import EXPORTER_JOB, INFERENCE_JOB, OPERATOR_JOB
from tools.monitoring.render import alert_labels
from tools.real_parts.processes import MissingPartError
from tools.real_parts.servers import PrometheusServer, running_alertmanager, running_prometheus

pytestmark = [pytest.mark.real_parts, pytest.mark.slow, pytest.mark.timeout(300)]

Key = tuple[tuple[str, str], ...]
NUM_GPUS = 6
FIRE_SECONDS = 60.0
RESOLVE_SECONDS = 90.0
EU = 'region="eu"'
POOL = 'region="eu",pool="h200"'
GPU = f'{POOL},node="n9",gpu="0",uuid="GPU-9"'


def key_of(labels: dict[str, str]) -> Key:
    """Return what tells the rules of the catalogue apart in an alert's labels."""
    names = ("alertname", "severity", "scope", "long", "rules")
    return tuple((name, labels[name]) for name in names if name in labels)


def key_of_rule(alert: Alert) -> Key:
    """Return the same of a rule."""
    return key_of({"alertname": alert.name, **alert_labels(alert)})


EVERY_KEY = {key_of_rule(alert) for alert in ALERTS}


def keys(*names: str, scope: str = "") -> set[Key]:
    """Return the keys of all rules of some alerts, or of those with a scope."""
    return {
        key_of_rule(alert)
        for alert in ALERTS
        if alert.name in names and (not scope or alert.labels.get("scope") == scope)
    }


DOWN = keys("GPUFleetTelemetryAbsent") | keys("GPUExporterDown", scope="target")
META = keys("MonitoringRulesMissing") | keys("Watchdog")


@dataclass
class Pipeline:
    """Everything that runs, and what the webhook has received."""

    prometheus: PrometheusServer
    rules: Path
    hardware: tuple[StubState, ...]
    exporters: tuple[ExporterProcess, ...]
    operator: StubExposition
    pods: tuple[StubExposition, ...]
    webhook: Any
    status: dict[Key, set[str]] = field(default_factory=dict)
    texts: dict[Key, dict[str, str]] = field(default_factory=dict)

    def receive(self) -> None:
        """Take note of every notification that has come."""
        while True:
            try:
                body = json.loads(self.webhook.wait(timeout_seconds=0.01))
            except AssertionError:
                return
            for alert in body["alerts"]:
                key = key_of(alert["labels"])
                self.status.setdefault(key, set()).add(alert["status"])
                self.texts[key] = alert["annotations"]

    def wait(self, wanted: set[Key], status: str, seconds: float) -> None:
        """Wait until a notification of every wanted rule has come with a status."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.receive()
            missing = {key for key in wanted if status not in self.status.get(key, set())}
            if not missing:
                return
            time.sleep(0.05)
        raise AssertionError(f"not {status} within {seconds:.0f} s: {sorted(missing)}")


@pytest.fixture
def pipeline(tmp_path: Path, webhook: Any) -> Iterator[Pipeline]:
    """Two exporters, an operator, three inference pods, Prometheus without rules but the last file, Alertmanager."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed; install it to build the NVML stub")
    folders = {name: tmp_path / name for name in ("prometheus", "alertmanager", "rules", "node-1", "node-2")}
    for folder in folders.values():
        folder.mkdir()
    library = build_stub(tmp_path)
    with ExitStack() as stack:
        hardware, exporters = [], []
        for node in ("node-1", "node-2"):
            state = StubState(folders[node] / "stub.state")
            state.set(count=NUM_GPUS)
            hardware.append(state)
            arguments = ("--nvml-library", str(library), "--period", "500ms", "--node", node)
            environment = {"MELTGUARD_STUB_STATE": str(state.path)}
            exporters.append(
                stack.enter_context(running_exporter(*arguments, directory=folders[node], environment=environment))
            )
        stubs = [stack.enter_context(running_stub()) for _ in range(4)]
        try:
            alertmanager = stack.enter_context(running_alertmanager(folders["alertmanager"], webhook_url=webhook.url))
            prometheus = stack.enter_context(
                running_prometheus(
                    folders["prometheus"],
                    rule_files=[folders["rules"] / "*.yaml"],
                    alertmanager_address=alertmanager.address,
                    arguments=["--rules.alert.resend-delay=1s"],
                )
            )
        except MissingPartError as error:
            pytest.skip(str(error))
        yield Pipeline(
            prometheus=prometheus,
            rules=folders["rules"],
            hardware=tuple(hardware),
            exporters=tuple(exporters),
            operator=stubs[0],
            pods=tuple(stubs[1:]),
            webhook=webhook,
        )


def _healthy(pipeline: Pipeline) -> None:
    """Everything is well, everywhere."""
    for state in pipeline.hardware:
        state.values.clear()
        state.set(count=NUM_GPUS)
    pipeline.operator.show(
        {
            f'meltguard_forecast_gpus_needed{{q="0.9",horizon="3600",tier="free",{EU}}}': 40,
            "meltguard_forecast_last_success_timestamp_seconds": time.time,
            f'meltguard_forecast_interval_coverage_ratio{{tier="free",{EU}}}': 0.9,
            f"meltguard_controller_rung{{{EU}}}": 0,
            'meltguard_controller_rung{region="us"}': 0,
            f"meltguard_controller_breaker_open{{{EU}}}": 0,
            "meltguard_controller_leader": 1,
            "meltguard_controller_last_pass_timestamp_seconds": time.time,
            'meltguard_controller_input_age_seconds{input="thermal"}': 3,
            f'meltguard_pool_nodes{{state="desired",{POOL}}}': 4,
            f'meltguard_pool_nodes{{state="serving",{POOL}}}': 4,
            f'meltguard_pool_nodes_limit{{bound="max",{POOL}}}': 10,
            f"meltguard_pool_gpus_per_node{{{POOL}}}": 8,
            'meltguard_pool_nodes{state="ready",region="hot",pool="h100"}': 2,
            f"meltguard_gpu_thermal_margin_celsius{{{GPU}}}": 20,
        }
    )
    pipeline.operator.rise(
        {
            'meltguard_controller_actions_total{kind="nodes",result="done"}': 1.0,
            'meltguard_controller_actions_total{kind="nodes",result="rejected"}': 0.0,
            'prometheus_notifications_errors_total{alertmanager="http://gone"}': 0.0,
            'alertmanager_notification_requests_total{integration="slack"}': 2.0,
            'alertmanager_notification_requests_failed_total{integration="slack"}': 0.0,
        }
    )
    for pod in pipeline.pods:
        pod.show({"meltguard_inference_estimated_wait_seconds": 1, "meltguard_flags_revision": 7})
        pod.rise(_requests(slow=0.0, contended=0.0, quota=0.0))


def _requests(*, slow: float, contended: float, quota: float) -> dict[str, float]:
    """Return the rates of a pod's counters with ten requests a second, a share of them bad."""
    received = 'meltguard_inference_requests_received_total{region="eu",tier="%s",attempt="first",outcome="%s"}'
    return {
        "meltguard_inference_time_to_first_token_seconds_count": 10.0,
        'meltguard_inference_time_to_first_token_seconds_bucket{le="2.5"}': 10.0 * (1.0 - slow),
        received % ("paid", "admitted"): 10.0 * (1.0 - contended),
        received % ("paid", "contended"): 10.0 * contended,
        received % ("free", "admitted"): 10.0 * (1.0 - quota),
        received % ("free", "quota"): 10.0 * quota,
    }


def _broken(pipeline: Pipeline) -> None:
    """Everything is wrong, everywhere."""
    for state in pipeline.hardware:
        state.set(
            gpu__0__ambient_celsius=75,
            gpu__1__power_brake=1,
            gpu__2__xid=79,
            gpu__2__xid_sequence=1,
            gpu__3__status=15,
            gpu__4__remap_failed=1,
            gpu__4__ecc_uncorrected=2,
            gpu__5__hang="all",
        )
    pipeline.operator.show(
        {
            f'meltguard_forecast_gpus_needed{{q="0.9",horizon="3600",tier="free",{EU}}}': 200,
            "meltguard_forecast_last_success_timestamp_seconds": time.time() - 1000,
            f'meltguard_forecast_interval_coverage_ratio{{tier="free",{EU}}}': 0.5,
            f"meltguard_controller_rung{{{EU}}}": 6,
            'meltguard_controller_rung{region="us"}': lambda: 2 + 2 * (int(time.time()) % 2),
            f"meltguard_controller_breaker_open{{{EU}}}": 1,
            "meltguard_controller_last_pass_timestamp_seconds": time.time() - 500,
            'meltguard_controller_input_age_seconds{input="thermal"}': 500,
            f'meltguard_pool_nodes{{state="desired",{POOL}}}': 10,
            'meltguard_pool_nodes{state="ready",region="hot",pool="h100"}': 3,
            f"meltguard_gpu_thermal_margin_celsius{{{GPU}}}": 2,
        }
    )
    pipeline.operator.rise(
        {
            'meltguard_controller_actions_total{kind="nodes",result="rejected"}': 3.0,
            'prometheus_notifications_errors_total{alertmanager="http://gone"}': 2.0,
            'alertmanager_notification_requests_failed_total{integration="slack"}': 1.0,
        }
    )
    for pod in pipeline.pods:
        pod.show({"meltguard_inference_estimated_wait_seconds": 60})
        pod.rise(_requests(slow=1.0, contended=1.0, quota=0.5))
    pipeline.pods[0].show({"meltguard_flags_revision": 8})


def test_every_alert_fires_and_resolves(pipeline: Pipeline):
    """The webhook hears of every rule of the catalogue twice: when it fires and when it is over."""
    files = accelerated_files()
    for exporter in pipeline.exporters:
        exporter.wait(lambda exporter=exporter: exporter.reasons() == running_states(NUM_GPUS))
    _healthy(pipeline)
    addresses = tuple(exporter.address.removeprefix("http://") for exporter in pipeline.exporters)
    pipeline.prometheus.scrape_groups(
        {
            addresses: {"job": EXPORTER_JOB, "region": "hot", "pool": "h100"},
            (pipeline.operator.address,): {"job": OPERATOR_JOB},
            tuple(pod.address for pod in pipeline.pods[:2]): {"job": INFERENCE_JOB, "region": "eu", "pool": "h200"},
            # Where no limits are in force, slow first tokens page.
            (pipeline.pods[2].address,): {"job": INFERENCE_JOB, "region": "asia", "pool": "a100"},
        }
    )
    # Only the file that watches the others: it misses all of them, until they are loaded.
    (pipeline.rules / "meta.yaml").write_text(files["meta.yaml"], encoding="utf-8")
    pipeline.prometheus.reload()
    pipeline.wait(META, "firing", FIRE_SECONDS)
    for name, text in files.items():
        (pipeline.rules / name).write_text(text, encoding="utf-8")
    pipeline.prometheus.reload()
    pipeline.wait(keys("MonitoringRulesMissing"), "resolved", RESOLVE_SECONDS)
    assert {key for key, seen in pipeline.status.items() if "firing" in seen} <= META | keys("GPUFleetTelemetryAbsent")

    _broken(pipeline)
    age = keys("GPUTelemetryStale", scope="exporter")
    leaderless = keys("ControllerNoLeader")
    pipeline.wait(EVERY_KEY - META - DOWN - age - leaderless, "firing", FIRE_SECONDS)
    said = pipeline.texts[key_of_rule(next(a for a in ALERTS if a.name == "MitigationLadderExhausted"))]
    assert said["controller"].startswith("Rung 6 of 7 is in force in eu.")

    _healthy(pipeline)
    # One node whose every GPU hangs: its exporter answers with readings that grow old.
    pipeline.hardware[1].set(init_hang=1, **{f"gpu__{index}__hang": "all" for index in range(NUM_GPUS)})
    pipeline.operator.show({"meltguard_controller_leader": 0})
    pipeline.wait(age | leaderless, "firing", FIRE_SECONDS)
    pipeline.operator.show({"meltguard_controller_leader": 1})
    pipeline.hardware[1].values.clear()
    pipeline.hardware[1].set(count=NUM_GPUS)
    # Both exporters hang: no scrape ends.
    for exporter in pipeline.exporters:
        exporter.process.send_signal(signal.SIGSTOP)
    pipeline.wait(DOWN, "firing", FIRE_SECONDS)
    for exporter in pipeline.exporters:
        exporter.process.send_signal(signal.SIGCONT)
    pipeline.wait(EVERY_KEY - keys("Watchdog"), "resolved", RESOLVE_SECONDS)

    # Without Prometheus's word the Watchdog ends by itself; that is what a dead man's switch waits for.
    (pipeline.rules / "meta.yaml").unlink()
    pipeline.prometheus.reload()
    pipeline.wait(EVERY_KEY, "resolved", RESOLVE_SECONDS)
