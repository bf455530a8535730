"""Writes boards as Grafana JSON with grafana-foundation-sdk. Pure: returns text."""

from __future__ import annotations

import warnings

from tools.monitoring.catalogue import DASHBOARDS_URL, RUNBOOKS_URL
from tools.monitoring.dashboards.control_boards import FORECAST, SCALING
from tools.monitoring.dashboards.panels import BoardSpec, Kind, Panel, Query
from tools.monitoring.dashboards.service_boards import INFERENCE, PIPELINE
from tools.monitoring.dashboards.thermal_boards import FLEET, THERMAL
from tools.monitoring.model import Threshold

with warnings.catch_warnings():
    # The classic schema is what every Grafana reads; the SDK would rather have us use the next one.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import common as common_builders
    from grafana_foundation_sdk.builders import dashboard, prometheus, stat, statetimeline, timeseries
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import common
    from grafana_foundation_sdk.models import dashboard as models

BOARDS: tuple[BoardSpec, ...] = (FLEET, THERMAL, FORECAST, SCALING, INFERENCE, PIPELINE)
ANNOTATION = "changes(region:meltguard_controller_rung:max[1m]) > 0"
"""Where it holds, a region's rung changed: drawn on every board."""
PANEL_HEIGHT = 8
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
PanelBuilder = timeseries.Panel | stat.Panel | statetimeline.Panel


def dashboard_files(*, runbooks_url: str = RUNBOOKS_URL, dashboards_url: str = DASHBOARDS_URL) -> dict[str, str]:
    """Return every dashboard as JSON by file name.

    Args:
        runbooks_url: Where runbooks are published.
        dashboards_url: Where dashboards are; the boards link each other there.

    Returns:
        The files.
    """
    del dashboards_url  # boards find each other by their tag
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {f"{spec.board.value}.json": encoder.encode(_board(spec, runbooks_url).build()) + "\n" for spec in BOARDS}


def _board(spec: BoardSpec, runbooks_url: str) -> dashboard.Dashboard:
    built = (
        dashboard.Dashboard(spec.title)
        .uid(spec.board.value)
        .description(spec.description)
        .tags(["meltguard"])
        .refresh("10s")
        .time("now-3h", "now")
        .timezone("utc")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("region")
            .label("Region")
            .query("label_values(region:meltguard_controller_rung:max, region)")
            .datasource(_SOURCE)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
        .annotation(
            dashboard.AnnotationQuery()
            .name("Rung changes")
            .datasource(_SOURCE)
            .expr(ANNOTATION)
            .enable(True)
            .icon_color("orange")
            .title_format("{{region}}: the rung changed")
        )
        .link(dashboard.DashboardLink("Boards").type(models.DashboardLinkType.DASHBOARDS).tags(["meltguard"]))
        .link(
            dashboard.DashboardLink("Runbooks")
            .type(models.DashboardLinkType.LINK)
            .url(f"{runbooks_url}/README.md")
            .target_blank(True)
        )
    )
    for panel in spec.panels:
        built = built.with_panel(_panel(panel, runbooks_url))
    return built


def _panel(panel: Panel, runbooks_url: str) -> PanelBuilder:
    builder: PanelBuilder
    match panel.kind:
        case Kind.LINES:
            builder = timeseries.Panel()
            if panel.threshold is not None:
                style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE)
                builder = builder.thresholds_style(style)
        case Kind.NUMBER:
            builder = stat.Panel()
        case Kind.STATES:
            builder = statetimeline.Panel()
    builder.title(panel.title).description(panel.description).unit(panel.unit).datasource(_SOURCE)
    builder.span(panel.width).height(PANEL_HEIGHT)
    builder.links(
        [
            dashboard.DashboardLink(f"Runbook: {alert}")
            .type(models.DashboardLinkType.LINK)
            .url(f"{runbooks_url}/{alert}.md")
            .target_blank(True)
            for alert in panel.alerts
        ]
    )
    if panel.threshold is not None:
        builder.thresholds(_steps(panel.threshold, low_is_bad=panel.low_is_bad))
    for index, query in enumerate(panel.queries):
        builder.with_target(_target(query, chr(ord("A") + index)))
    return builder


def _steps(threshold: Threshold, *, low_is_bad: bool) -> dashboard.ThresholdsConfig:
    below, above = ("red", "green") if low_is_bad else ("green", "red")
    steps = [models.Threshold(value=None, color=below), models.Threshold(value=threshold.value, color=above)]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _target(query: Query, reference: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(reference).range()
    return target.exemplar(True) if query.exemplars else target
