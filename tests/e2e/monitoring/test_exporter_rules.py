"""Everything that the shipped rules ask of the exporter is there, asked of the real exporter by a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporters.dcgm import LEGACY
from exporters.metric_names import EXPORTER_METRICS
from tests.exporter_process import ExporterProcess, running_states
from tests.nvml_stub.stub import StubState
from tools.checks.repository import ROOT
from tools.monitoring.catalogue import ALERTS, RECORDINGS
from tools.monitoring.files import FOLDER
from tools.monitoring.model import Recording
from tools.monitoring.promql import Selector, selectors
from tools.monitoring.recordings import EXPORTER_JOB
from tools.real_parts.processes import MissingPartError
from tools.real_parts.servers import PrometheusServer, running_prometheus

pytestmark = [pytest.mark.real_parts, pytest.mark.slow]

OF_EXPORTER = {metric.name for metric in EXPORTER_METRICS} | {field.name for field in LEGACY} | {"up"}
MAX_WAIT_SECONDS = 45.0


def _by_record() -> dict[str, tuple[str, ...]]:
    """Return the metrics that each recorded series is made of."""
    found: dict[str, tuple[str, ...]] = {}
    for rule in RECORDINGS:
        found[rule.record] = tuple(each.metric for each in selectors(rule.expr))
    return found


MADE_OF = _by_record()


def _concerns_the_exporter(metric: str) -> bool:
    """Say whether a metric is the exporter's, or recorded from nothing but the exporter's."""
    if metric in MADE_OF:
        return bool(MADE_OF[metric]) and all(_concerns_the_exporter(each) for each in MADE_OF[metric])
    return metric in OF_EXPORTER


RULES = [*ALERTS, *RECORDINGS]
SELECTORS: dict[str, Selector] = {
    each.text: each for rule in RULES for each in selectors(rule.expr) if _concerns_the_exporter(each.metric)
}
RECORDED = [rule for rule in RECORDINGS if _concerns_the_exporter(rule.record)]


@pytest.fixture(scope="module")
def scraped(
    stub_state: StubState, stub_exporter: ExporterProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """A Prometheus with the shipped rules that scrapes the exporter of a node on which everything goes wrong."""
    # A GPU that breaks before it was ever read is called unidentified; these break afterwards.
    stub_exporter.wait(lambda: stub_exporter.reasons() == running_states(8))
    stub_state.set(
        gpu__0__ambient_celsius=65,  # above 87 °C, its first intervention, within seconds
        gpu__1__status=15,  # lost
        gpu__2__hang="all",  # stuck
        gpu__3__xid=79,
        gpu__3__xid_sequence=1,
        gpu__4__power_brake=1,
        gpu__5__ecc_uncorrected=3,
        gpu__6__remap_failed=1,
    )
    rules = sorted((ROOT / FOLDER / "rules").glob("*.yaml"))
    directory: Path = tmp_path_factory.mktemp("prometheus")
    try:
        with running_prometheus(directory, rule_files=rules, interval_seconds=1.0) as server:
            address = stub_exporter.address.removeprefix("http://")
            server.scrape(address, labels={"job": EXPORTER_JOB, "pool": "h200", "region": "eu-west"})
            yield server
    except MissingPartError as error:
        pytest.skip(str(error))


def _answer(server: PrometheusServer, selector: Selector) -> list[object]:
    """Ask for a selector as the rule does: where it takes a rate of a range, the range must hold two samples."""
    if selector.range_seconds is None:
        return list(server.query(selector.text))
    return list(server.query(f"count_over_time({selector.text}[1m]) > 1"))


@pytest.mark.parametrize("text", sorted(SELECTORS))
def test_every_selector_of_the_rules_finds_data(text, scraped, wait_until):
    """What a shipped rule selects of the exporter's metrics exists, with the label values that the rule names."""
    wait_until(lambda: _answer(scraped, SELECTORS[text]), timeout_seconds=MAX_WAIT_SECONDS)


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule.record)
def test_every_recorded_series_of_the_exporter_has_data(rule: Recording, scraped, wait_until):
    """Each recording rule over the exporter's metrics records something, and says for which pool or GPU."""
    wait_until(lambda: scraped.query(rule.record), timeout_seconds=MAX_WAIT_SECONDS)
    for series in scraped.query(rule.record):
        assert series["metric"]["pool"] == "h200"
        assert series["metric"]["region"] == "eu-west"


@pytest.mark.parametrize(
    ("alert", "labels"),
    [
        ("GPUThermalMarginLow", {"gpu": "0"}),
        ("GPUHardwareXid", {"gpu": "3", "scope": "gpu", "xid": "79"}),
        ("GPUMissing", {"gpu": "1", "scope": "gpu"}),
        ("GPUUncorrectableMemoryError", {"gpu": "6"}),
        ("GPUTelemetryStale", {"node": "node-1", "scope": "gpu"}),
    ],
)
def test_a_broken_gpu_is_seen_by_its_rule(alert, labels, scraped, wait_until):
    """The fault of one GPU makes its own alert at least pending, for that GPU and no other."""

    def found() -> list[dict[str, str]]:
        of_alert = [each["labels"] for each in scraped.alerts() if each["labels"]["alertname"] == alert]
        return [each for each in of_alert if all(each.get(key) == value for key, value in labels.items())]

    wait_until(found, timeout_seconds=MAX_WAIT_SECONDS)
    if "gpu" in labels:
        others = {each["labels"].get("gpu") for each in scraped.alerts() if each["labels"]["alertname"] == alert}
        assert others == {labels["gpu"]}


def test_no_page_comes_for_one_broken_node(scraped):
    """However broken one node is, nothing critical is pending: a page needs several nodes."""
    critical = {
        each["labels"]["alertname"]
        for each in scraped.alerts()
        if each["labels"]["severity"] == "critical" and each["labels"]["component"] in {"gpu-hardware", "telemetry"}
    }
    assert critical == set()
