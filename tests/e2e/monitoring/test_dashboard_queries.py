"""Every panel's queries return data from a live Prometheus that scrapes a real exporter and the declared families."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.accelerated_rules import accelerated_files
from tests.exporter_process import running_exporter
from tests.exposed_families import OPERATOR_FAMILIES, POD_FAMILIES, expose
from tests.stub_exposition import running_stub
from tools.monitoring.dashboards.grafana import ANNOTATION, BOARDS
from tools.monitoring.dashboards.panels import Panel
from tools.monitoring.recordings import EXPORTER_JOB, INFERENCE_JOB, OPERATOR_JOB
from tools.real_parts.processes import MissingPartError
from tools.real_parts.servers import PrometheusServer, running_alertmanager, running_prometheus

pytestmark = [pytest.mark.real_parts, pytest.mark.slow]

PANELS = [(spec.board.value, panel) for spec in BOARDS for panel in spec.panels]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Prometheus with accelerated rules over a simulated node, an operator, a pod and the servers themselves."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("exporter", "alertmanager", "prometheus", "rules")}
    for name, text in accelerated_files().items():
        (folders["rules"] / name).write_text(text, encoding="utf-8")
    with ExitStack() as stack:
        exporter = stack.enter_context(running_exporter("--source", "simulated:2", directory=folders["exporter"]))
        operator, pod = (stack.enter_context(running_stub()) for _ in range(2))
        expose(operator, OPERATOR_FAMILIES)
        expose(pod, POD_FAMILIES)
        try:
            alertmanager = stack.enter_context(
                running_alertmanager(folders["alertmanager"], webhook_url="http://127.0.0.1:9/")
            )
            rules: list[Path] = [folders["rules"] / "*.yaml"]
            prometheus = stack.enter_context(
                running_prometheus(folders["prometheus"], rule_files=rules, alertmanager_address=alertmanager.address)
            )
        except MissingPartError as error:
            pytest.skip(str(error))
        place = {"region": "eu", "pool": "h200"}
        prometheus.scrape_groups(
            {
                (exporter.address.removeprefix("http://"),): {"job": EXPORTER_JOB, **place},
                (operator.address,): {"job": OPERATOR_JOB},
                (pod.address,): {"job": INFERENCE_JOB, "pool": "h200"},
                (prometheus.url.removeprefix("http://"),): {"job": "prometheus"},
                (alertmanager.address,): {"job": "alertmanager"},
            }
        )
        yield prometheus


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value.title)
def test_every_query_of_a_panel_returns_data(board: str, panel: Panel, scraped: PrometheusServer, wait_until):
    """A panel shows something when its processes run, with the reader's choice of all regions."""
    del board
    for query in panel.queries:
        expr = query.expr.replace("$region", ".*")
        wait_until(lambda expr=expr: scraped.query(expr), timeout_seconds=40.0)


def test_the_annotation_is_promql_that_prometheus_takes(scraped: PrometheusServer):
    """The query behind the marks of rung changes is answered, though no rung changes here."""
    assert scraped.query(ANNOTATION) == []
