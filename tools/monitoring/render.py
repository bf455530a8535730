"""Writes the catalogue as rule files and as PrometheusRule objects. Pure: returns text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tools.monitoring.catalogue import DASHBOARDS_URL, GROUPS, RUNBOOKS_URL, TEAM
from tools.monitoring.model import Alert, Group, Recording

Document = dict[str, Any]
"""A YAML document: only this module knows its shape."""

_HEAD = "# Written by `python -m tools.monitoring` from tools/monitoring; change it there.\n"


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, so that PromQL stays readable."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump_yaml(*documents: Document) -> str:
    """Return documents as YAML with the line that says who wrote them."""
    text: str = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)
    return _HEAD + text


def alert_labels(alert: Alert) -> dict[str, str]:
    """Return the static labels of an alert."""
    return {"severity": alert.severity.value, "team": TEAM, "component": alert.component.value, **alert.labels}


def rule_document(
    rule: Recording | Alert, *, runbooks_url: str = RUNBOOKS_URL, dashboards_url: str = DASHBOARDS_URL
) -> Document:
    """Return a rule in Prometheus's format.

    Args:
        rule: The rule.
        runbooks_url: Where runbooks are published, without a slash at the end.
        dashboards_url: Where dashboards are, likewise.

    Returns:
        The rule as a document.
    """
    if isinstance(rule, Recording):
        document: Document = {"record": rule.record, "expr": rule.expr}
        return {**document, "labels": dict(rule.labels)} if rule.labels else document
    timing = {"for": rule.hold, "keep_firing_for": rule.keep}
    return {
        "alert": rule.name,
        "expr": rule.expr,
        **{key: value for key, value in timing.items() if value},
        "labels": alert_labels(rule),
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "controller": rule.controller,
            "runbook_url": f"{runbooks_url}/{rule.name}.md",
            "dashboard_url": f"{dashboards_url}/{rule.board.value}",
        },
    }


def group_document(group: Group, **urls: str) -> Document:
    """Return a group in Prometheus's format; ``urls`` as for :func:`rule_document`."""
    return {
        "name": group.name,
        "interval": group.interval,
        "rules": [rule_document(rule, **urls) for rule in group.rules],
    }


def groups_by_file(groups: tuple[Group, ...] = GROUPS) -> dict[str, list[Group]]:
    """Return the groups of each rule file, in order."""
    files: dict[str, list[Group]] = {}
    for group in groups:
        files.setdefault(group.file, []).append(group)
    return files


def rule_files(**urls: str) -> dict[str, str]:
    """Return the text of every rule file by name; ``urls`` as for :func:`rule_document`."""
    return {
        f"{file}.yaml": dump_yaml({"groups": [group_document(group, **urls) for group in groups]})
        for file, groups in groups_by_file().items()
    }


def prometheus_rules(**urls: str) -> str:
    """Return the PrometheusRule objects, one a rule file; ``urls`` as for :func:`rule_document`."""
    return dump_yaml(
        *(
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": f"meltguard-{file}", "labels": _object_labels()},
                "spec": {"groups": [group_document(group, **urls) for group in groups]},
            }
            for file, groups in groups_by_file().items()
        )
    )


def _object_labels() -> Mapping[str, str]:
    return {"app.kubernetes.io/name": "meltguard", "app.kubernetes.io/component": "monitoring"}
