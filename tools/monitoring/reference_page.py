"""The reference page of alerts and recording rules. Pure: returns Markdown."""

from __future__ import annotations

from tools.docs.tables import code, table
from tools.monitoring.catalogue import ALERT_NAMES, ALERTS, GROUPS
from tools.monitoring.model import Alert, Recording
from tools.monitoring.slo import BURN_WINDOWS, OBJECTIVES, detection_seconds
from tools.monitoring.thresholds import ALL

_HEAD = """# Alerts and recording rules

Written by `python -m tools.monitoring` from `tools/monitoring`; a test fails when it has drifted. The rule files stand
in [manifests/monitoring/rules](../../manifests/monitoring/rules), the same rules as PrometheusRule objects in
[prometheus-rules.yaml](../../manifests/monitoring/prometheus-rules.yaml). The rules are written for Prometheus 2.42 and
newer, 3.x included.

Critical pages a person, warning opens a ticket, info only explains other alerts, none is the dead man's switch. One GPU
or node is a ticket; a page needs several nodes of a pool, a region, or the controller
([decision 100](../decisions/0100-pages-are-for-common-causes.md)).
"""


def _anchor(name: str) -> str:
    return f"[{name}](../runbooks/{name}.md)"


def _alert_rows(alerts: tuple[Alert, ...]) -> list[tuple[str, ...]]:
    return [
        (
            _anchor(alert.name),
            alert.severity.value,
            " ".join(f"{key}={value}" for key, value in alert.labels.items()),
            alert.hold or "at once",
            alert.keep,
            alert.why,
        )
        for alert in alerts
    ]


def _burn_rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for objective in OBJECTIVES:
        for window in BURN_WINDOWS:
            total, tenth = (detection_seconds(objective, window, error_ratio=ratio) for ratio in (1.0, 0.1))
            rows.append(
                (
                    objective.alert,
                    f"{window.long} and {window.short}",
                    f"{window.factor:g}",
                    f"{window.factor * objective.budget:.3g}",
                    window.severity.value,
                    _minutes(total),
                    _minutes(tenth),
                )
            )
    return rows


def _minutes(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds / 60.0:.1f} min"


def reference_page() -> str:
    """Return the page."""
    recordings = [
        (code(rule.record), " ".join(f"{key}={value}" for key, value in rule.labels.items()), group.interval)
        for group in GROUPS
        for rule in group.rules
        if isinstance(rule, Recording)
    ]
    parts = [
        _HEAD,
        f"## Alerts\n\n{len(ALERT_NAMES)} alerts, {len(ALERTS)} rules.\n",
        table(("alert", "severity", "labels", "holds for", "kept for", "why so long"), _alert_rows(ALERTS)),
        "## Thresholds\n\nThe rules, the dashboards' lines and the runbooks read them from one place.\n",
        table(("threshold", "value", "why"), [(each.name, each.words, each.why) for each in ALL]),
        "## Service level objectives\n",
        *(f"- {objective.promise} ({code(objective.alert)})." for objective in OBJECTIVES),
        "\nThe error ratio cannot exceed 1, so a factor times the budget must stay below it: a promise of 93.1 % or\n"
        "less could never page at 14.4. What an outage takes to be called, from the moment at which it begins:\n",
        table(
            ("alert", "windows", "factor", "error ratio above", "severity", "total outage", "one request in ten"),
            _burn_rows(),
        ),
        "## Recording rules\n\nThe `pool:` series reduce a fleet to pools, for the operator and for dashboards.\n",
        table(("series", "labels", "interval"), recordings),
    ]
    return "\n".join(parts)
