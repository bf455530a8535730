"""Which labels a series can have, inferred through PromQL. Pure; the lint compares rules with it.

Metrics of ours have the labels that ``exporters.metric_names`` declares and those of their target; recorded series have
what their expression leaves. A label that is inferred may be absent, one that is not inferred cannot be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import promql_parser

from exporters.dcgm import BASE_LABELS, LEGACY
from exporters.metric_names import ALL_METRICS, MetricType
from tools.monitoring.model import Recording
from tools.monitoring.promql import children, parse, unwrapped

Labels = frozenset[str]

TARGET_LABELS: Labels = frozenset({"cluster", "job", "instance", "pool", "region", "node"})
"""What the monitors give every series: see manifests/monitoring/monitors.yaml."""
FOREIGN: Mapping[str, Labels] = {
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    "prometheus_notifications_errors_total": frozenset({"alertmanager"}),
    "prometheus_notifications_alertmanagers_discovered": frozenset(),
    "prometheus_rule_group_last_evaluation_timestamp_seconds": frozenset({"rule_group"}),
    "prometheus_rule_group_last_duration_seconds": frozenset({"rule_group"}),
    "prometheus_rule_evaluation_failures_total": frozenset({"rule_group"}),
    "alertmanager_notification_requests_total": frozenset({"integration"}),
    "alertmanager_notification_requests_failed_total": frozenset({"integration"}),
    "scrape_duration_seconds": frozenset(),
}
"""Metrics of Prometheus and Alertmanager themselves that the rules, runbooks and dashboards use."""

_SET_OPERATORS = ("and", "or", "unless")


def known_series() -> dict[str, Labels]:
    """Return every series that exists without a recording rule, with its labels."""
    found: dict[str, Labels] = {name: labels | TARGET_LABELS for name, labels in FOREIGN.items()}
    found |= {field.name: frozenset(field.labels) | frozenset(BASE_LABELS) | TARGET_LABELS for field in LEGACY}
    for metric in ALL_METRICS:
        labels = frozenset(metric.labels) | TARGET_LABELS
        if metric.type is MetricType.HISTOGRAM:
            found |= {f"{metric.name}_count": labels, f"{metric.name}_sum": labels}
            found[f"{metric.name}_bucket"] = labels | {"le"}
        else:
            found[metric.name] = labels
    return found


class LabelReader:
    """Infers labels; knows the recorded series.

    Args:
        recordings: Every recording rule; a series may be recorded by several.
    """

    def __init__(self, recordings: tuple[Recording, ...]) -> None:
        """Infer the labels of every recorded series, in order."""
        self.series: dict[str, Labels] = known_series()
        self.every_label: Labels = frozenset().union(*self.series.values())
        for rule in recordings:
            labels = self.of(parse(rule.expr)) | frozenset(rule.labels)
            self.series[rule.record] = self.series.get(rule.record, frozenset()) | labels

    def of(self, node: Any) -> Labels:
        """Return the labels that the result of a node can have; nothing for scalars and unknown series."""
        node = unwrapped(node)
        match node:
            case promql_parser.VectorSelector():
                return self.series.get(node.name, TARGET_LABELS) if node.name else self.every_label
            case promql_parser.MatrixSelector():
                return self.of(node.vector_selector)
            case promql_parser.AggregateExpr():
                return self._aggregated(node)
            case promql_parser.Call():
                return self._called(node)
            case promql_parser.BinaryExpr():
                return self._combined(node)
            case _:
                below = children(node)
                return self.of(below[0]) if below else frozenset()

    def _aggregated(self, node: Any) -> Labels:
        inner = self.of(node.expr)
        added = frozenset({node.param.val}) if str(node.op) == "count_values" else frozenset()
        if node.modifier is None:
            return inner if str(node.op) in ("topk", "bottomk") else added
        named = frozenset(node.modifier.labels)
        return (inner & named if node.modifier.type == promql_parser.AggModifierType.By else inner - named) | added

    def _called(self, node: Any) -> Labels:
        if node.func.name == "absent":
            selector = unwrapped(node.args[0])
            matchers = selector.matchers.matchers if isinstance(selector, promql_parser.VectorSelector) else []
            return frozenset(each.name for each in matchers if each.op == promql_parser.MatchOp.Equal)
        if node.func.name in ("vector", "time", "scalar"):
            return frozenset()
        vectors = [argument for argument in node.args if is_vector(argument)]
        inner = self.of(vectors[0]) if vectors else frozenset()
        if node.func.name == "label_replace":
            return inner | {node.args[1].val}
        return inner - {"le"} if node.func.name == "histogram_quantile" else inner

    def _combined(self, node: Any) -> Labels:
        left, right = self.of(node.lhs), self.of(node.rhs)
        operator = str(node.op)
        if operator == "or":
            return left | right
        if operator in _SET_OPERATORS or not is_vector(node.rhs):
            return left
        if not is_vector(node.lhs):
            return right
        modifier = node.modifier
        if modifier is not None and modifier.card == promql_parser.VectorMatchCardinality.ManyToOne:
            return left | frozenset(modifier.group_labels or ())
        if modifier is not None and modifier.card == promql_parser.VectorMatchCardinality.OneToMany:
            return right | frozenset(modifier.group_labels or ())
        if modifier is None or modifier.matching is None:
            return left & right
        named = frozenset(modifier.matching.labels)
        on = modifier.matching.type == promql_parser.LabelModifierType.Include
        return named & left if on else left - named


def is_vector(node: Any) -> bool:
    """Say whether a node gives series rather than one number or text."""
    node = unwrapped(node)
    match node:
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return False
        case promql_parser.Call():
            return node.func.name not in ("time", "scalar", "pi")
        case promql_parser.BinaryExpr():
            return is_vector(node.lhs) or is_vector(node.rhs)
        case promql_parser.UnaryExpr():
            return is_vector(node.expr)
        case _:
            return True
