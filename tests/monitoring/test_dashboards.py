"""What stands on the dashboards: units, descriptions, the alerts' thresholds, runbooks, and PromQL that is clean."""

from __future__ import annotations

import json

import pytest

from tools.checks.repository import ROOT
from tools.monitoring.catalogue import ALERT_NAMES, ALERTS, RECORDINGS
from tools.monitoring.dashboards.grafana import ANNOTATION, BOARDS
from tools.monitoring.files import FOLDER
from tools.monitoring.labels import LabelReader
from tools.monitoring.lint import lint_expr
from tools.monitoring.model import Board
from tools.monitoring.thresholds import ALL

READER = LabelReader(RECORDINGS)
DOCUMENTS = {board: json.loads((ROOT / FOLDER / "dashboards" / f"{board}.json").read_text()) for board in Board}
PANELS = [(board, panel) for board, document in DOCUMENTS.items() for panel in document["panels"]]
IN_PLACE = {"promql/fragile"}
"""Checks that only concern alerts: a panel may show the ten smallest."""


def test_there_is_a_board_for_each_that_alerts_link():
    """Every board that an alert names is written, and none besides."""
    assert {spec.board for spec in BOARDS} == set(Board)
    assert {alert.board for alert in ALERTS} <= set(Board)


@pytest.mark.parametrize("board", Board)
def test_a_board_is_of_the_schema_that_we_pin(board):
    """Dashboards have schema 42, the uid of the alerts' links, a choice of source and region, and rung changes."""
    document = DOCUMENTS[board]
    assert document["schemaVersion"] == 42
    assert document["uid"] == board.value
    assert [variable["name"] for variable in document["templating"]["list"]] == ["datasource", "region"]
    assert document["annotations"]["list"][0]["expr"] == ANNOTATION


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_a_panel_explains_itself(board, panel):
    """Each panel has a title, a description that ends as a sentence, a unit, and legends for its queries."""
    del board
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_queries_of_a_panel_ask_for_what_exists(board, panel):
    """Each query is PromQL over series that we export or record, with labels that they have."""
    del board
    for target in panel["targets"]:
        found = [(check, text) for check, text in lint_expr(target["expr"], READER) if check not in IN_PLACE]
        assert found == [], target["expr"]


def test_lines_stand_where_alerts_fire():
    """The line on a panel is a threshold of the alerts, not a number of the panel's own."""
    values = {threshold.value for threshold in ALL}
    lines = [
        step["value"]
        for _, panel in PANELS
        for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ())
        if step["value"] is not None
    ]
    assert lines
    assert set(lines) <= values


def test_every_alert_is_explained_on_some_panel():
    """Each alert's runbook is linked from a panel that shows its numbers."""
    linked = {alert for spec in BOARDS for panel in spec.panels for alert in panel.alerts}
    assert linked == set(ALERT_NAMES)
