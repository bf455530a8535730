"""Which files are written from the catalogue. Used by `python -m tools.monitoring` and by the test of drift."""

from __future__ import annotations

from tools.monitoring.dashboards.grafana import dashboard_files
from tools.monitoring.reference_page import reference_page
from tools.monitoring.render import prometheus_rules, rule_files
from tools.monitoring.runbooks import runbook_pages

FOLDER = "manifests/monitoring"
RUNBOOKS_FOLDER = "docs/runbooks"
REFERENCE = "docs/reference/alerts.md"


def generated_files(**urls: str) -> dict[str, str]:
    """Return every generated file: text by path from the repository's root.

    Args:
        urls: ``runbooks_url`` and ``dashboards_url`` where they differ from the catalogue's.

    Returns:
        The files.
    """
    return {
        **{f"{FOLDER}/rules/{name}": text for name, text in rule_files(**urls).items()},
        **{f"{FOLDER}/dashboards/{name}": text for name, text in dashboard_files(**urls).items()},
        f"{FOLDER}/prometheus-rules.yaml": prometheus_rules(**urls),
        **{f"{RUNBOOKS_FOLDER}/{name}": text for name, text in runbook_pages().items()},
        REFERENCE: reference_page(),
    }
