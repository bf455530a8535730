"""Checks of rules that `promtool check` does not make, after the useful ones of Cloudflare's pint. Pure.

Each check yields findings: what is wrong, and how to put it right. They need no server: labels are inferred from what
we export. Run by the tests over the catalogue, over runbooks and over dashboards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser

from exporters.metric_names import BY_NAME, MetricType
from tools.monitoring.labels import LabelReader, Labels, is_vector
from tools.monitoring.model import Alert, Group, Recording, Severity, duration_seconds
from tools.monitoring.promql import Selector, children, parse, selectors, unwrapped, walk

SCRAPE_SECONDS = 15
"""The slowest scrape that the rules must work with; the default is 5 s."""
MAX_GROUP_SECONDS = 300
LONG_HOLD_SECONDS = 300
"""From here on holds meet lost scrapes: where one in a hundred is lost, every sixth hold of 20 scrapes meets one."""
COUNTER_FUNCTIONS = ("rate", "increase", "irate", "resets", "changes", "absent", "count_over_time")
RATES = ("rate", "increase", "irate")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
_TEMPLATE_LABEL = re.compile(r"\$labels\.([A-Za-z_]\w*)")
_QUERY = re.compile(r"(?:query|printf) `([^`]*)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: Name of the check.
        rule: Name of the alert or the recorded series.
        text: What is wrong, and the cure.
    """

    check: str
    rule: str
    text: str


def lint_groups(groups: tuple[Group, ...]) -> tuple[Finding, ...]:
    """Return everything that is wrong with groups of rules.

    Args:
        groups: All of them, so that recorded series are known.

    Returns:
        The findings; empty for good rules.
    """
    recordings = tuple(rule for group in groups for rule in group.rules if isinstance(rule, Recording))
    reader = LabelReader(recordings)
    found: list[Finding] = []
    for group in groups:
        if duration_seconds(group.interval) > MAX_GROUP_SECONDS:
            text = f"evaluated every {group.interval}; series go stale after 5 minutes"
            found.append(Finding(check="group/interval", rule=group.name, text=text))
        for rule in group.rules:
            name = rule.name if isinstance(rule, Alert) else rule.record
            found += (Finding(check=check, rule=name, text=text) for check, text in lint_expr(rule.expr, reader))
            if isinstance(rule, Alert):
                found += (Finding(check=check, rule=name, text=text) for check, text in _lint_alert(rule, reader))
                found += (
                    Finding(check="alerts/lost_scrape", rule=name, text=text)
                    for text in _fragile_holds(rule, recordings)
                )
    return (*found, *_duplicates(recordings))


def lint_expr(expr: str, reader: LabelReader) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with one expression, as check and text.

    Args:
        expr: PromQL.
        reader: Knows the series that exist.

    Yields:
        Name of the check, and what is wrong.
    """
    tree = parse(expr)
    for selector in selectors(expr):
        yield from _series(selector, reader)
        yield from _rates(selector)
    for node in walk(tree):
        match node:
            case promql_parser.AggregateExpr():
                yield from _aggregation(node, reader)
            case promql_parser.BinaryExpr():
                yield from _matching(node, reader)
                yield from _division(node)
            case promql_parser.Call() if node.func.name == "absent":
                yield from _absent(node)
            case _:
                pass


def _series(selector: Selector, reader: LabelReader) -> Iterator[tuple[str, str]]:
    if not selector.metric:
        return
    labels = reader.series.get(selector.metric)
    if labels is None:
        yield "promql/series", f"{selector.metric} is neither exported nor recorded"
        return
    for label in sorted(selector.labels - labels):
        yield "promql/series", f"{selector.metric} has no label {label}"


def _is_counter(metric: str) -> bool:
    base = re.sub(r"_(count|sum|bucket)$", "", metric)
    known = BY_NAME.get(metric) or BY_NAME.get(base)
    if known is None:
        return metric.endswith("_total")
    return known.type in (MetricType.COUNTER, MetricType.HISTOGRAM)


def _rates(selector: Selector) -> Iterator[tuple[str, str]]:
    if selector.function in RATES:
        if selector.range_seconds is not None and selector.range_seconds < 4 * SCRAPE_SECONDS:
            least = f"{4 * SCRAPE_SECONDS} s, four scrapes"
            yield "promql/rate", f"{selector.function}({selector.text}) needs a range of at least {least}"
        if not _is_counter(selector.metric):
            yield "promql/counter", f"{selector.metric} is no counter; {selector.function}() of it means nothing"
    elif _is_counter(selector.metric) and selector.function not in COUNTER_FUNCTIONS:
        yield "promql/counter", f"{selector.metric} is a counter; take its rate() or increase()"


def _aggregation(node: Any, reader: LabelReader) -> Iterator[tuple[str, str]]:
    operator = str(node.op)
    if node.modifier is not None and node.modifier.type == promql_parser.AggModifierType.Without:
        yield "promql/fragile", f"{operator} without (...) breaks when a label is added; name what stays with by (...)"
        return
    inner = reader.of(node.expr)
    for label in sorted(frozenset(node.modifier.labels if node.modifier else ()) - inner):
        # cluster and region come from the target and may be left out; everything else must exist.
        if label not in ("cluster", "region"):
            yield "promql/aggregate", f"{operator} by ({label}): the series cannot have that label"


def _matching(node: Any, reader: LabelReader) -> Iterator[tuple[str, str]]:
    if not (is_vector(node.lhs) and is_vector(node.rhs)) or str(node.op) == "or":
        return
    modifier = node.modifier
    left, right = reader.of(node.lhs), reader.of(node.rhs)
    if modifier is None or modifier.matching is None:
        if left != right:
            yield (
                "promql/vector_matching",
                f"{node.op}: the sides differ in {sorted(left ^ right)}; match them with on (...)",
            )
        return
    named = frozenset(modifier.matching.labels)
    for label in sorted(named - (left & right)):
        yield "promql/vector_matching", f"{node.op} on ({label}): one side cannot have that label, so nothing matches"
    if str(node.op) not in ("and", "unless"):
        yield from _cardinality(node, named, left, right)


def _cardinality(node: Any, named: Labels, left: Labels, right: Labels) -> Iterator[tuple[str, str]]:
    card = node.modifier.card
    many = promql_parser.VectorMatchCardinality
    if left - named and card not in (many.ManyToOne,):
        yield "promql/vector_matching", f"{node.op}: the left side has {sorted(left - named)} besides; use group_left"
    if right - named and card not in (many.OneToMany,):
        yield (
            "promql/vector_matching",
            f"{node.op}: the right side has {sorted(right - named)} besides; use group_right",
        )


def _division(node: Any) -> Iterator[tuple[str, str]]:
    if str(node.op) != "/" or not is_vector(node.rhs):
        return
    divisor = unwrapped(node.rhs)
    guarded = isinstance(divisor, promql_parser.BinaryExpr) and str(divisor.op) in COMPARISONS
    counted = isinstance(divisor, promql_parser.AggregateExpr) and str(divisor.op) in ("count", "group")
    recorded = isinstance(divisor, promql_parser.VectorSelector) and str(divisor.name).endswith(
        (":count", "limit_watts:sum")
    )
    if not (guarded or counted or recorded):
        yield "promql/nan", "a divisor that may be 0 gives NaN, which no comparison finds; divide by (x > 0)"


def _absent(node: Any) -> Iterator[tuple[str, str]]:
    argument = unwrapped(node.args[0])
    if not isinstance(argument, promql_parser.VectorSelector):
        yield "alerts/absent", "absent() of an expression carries no labels; give it a selector"
    elif not any(each.op == promql_parser.MatchOp.Equal for each in argument.matchers.matchers):
        yield "alerts/absent", f"absent({argument.name}) carries no labels; name one with ="


def _lint_alert(alert: Alert, reader: LabelReader) -> Iterator[tuple[str, str]]:
    tree = parse(alert.expr)
    if alert.severity is not Severity.NONE and not _compares(tree):
        yield "alerts/comparison", "the expression compares nothing, so it always fires"
    asks_absence = any(isinstance(each, promql_parser.Call) and each.func.name == "absent" for each in walk(tree))
    if asks_absence and (not alert.hold or duration_seconds(alert.hold) < 2 * SCRAPE_SECONDS):
        yield "alerts/absent", "a restart of Prometheus finds nothing for two scrapes; hold it longer"
    for node in walk(tree):
        if isinstance(node, promql_parser.AggregateExpr) and str(node.op) in ("topk", "bottomk"):
            yield "promql/fragile", f"{node.op} in an alert changes its series with every scrape"
    if any("$value" in value for value in alert.labels.values()):
        yield "alerts/template", "a value in a label makes a new alert with every evaluation"
    labels = reader.of(tree) | frozenset(alert.labels)
    for text in (alert.summary, alert.description, alert.controller):
        for label in sorted(set(_TEMPLATE_LABEL.findall(text)) - labels):
            yield "alerts/template", f"$labels.{label}: the alert cannot have that label"
        for query in _QUERY.findall(text):
            if "%" not in query or "%q" in query:
                yield from lint_expr(query.replace("%q", '"x"'), reader)


def _fragile_holds(alert: Alert, recordings: tuple[Recording, ...]) -> Iterator[str]:
    if not alert.hold or duration_seconds(alert.hold) < LONG_HOLD_SECONDS:
        return
    exprs = {recording.record: recording.expr for recording in recordings}
    for metric in sorted(set(_instants(parse(alert.expr), exprs))):
        yield (
            f"one lost scrape of {metric} begins the hold of {alert.hold} anew; take last_over_time({metric}[1m]), "
            "or a rate"
        )


def _instants(node: Any, exprs: Mapping[str, str]) -> Iterator[str]:
    """Yield the metrics of ours whose absence for one evaluation ends an expression, through recorded series."""
    node = unwrapped(node)
    match node:
        case promql_parser.VectorSelector() if node.name in exprs:
            yield from _instants(parse(exprs[str(node.name)]), exprs)
        case promql_parser.VectorSelector() if node.name in BY_NAME:
            yield str(node.name)
        case promql_parser.BinaryExpr() if str(node.op) == "unless":
            yield from _instants(node.lhs, exprs)
        case promql_parser.SubqueryExpr():
            return
        case _:
            for child in children(node):
                yield from _instants(child, exprs)


def _compares(node: Any) -> bool:
    """Say whether every branch of an expression can end."""
    node = unwrapped(node)
    match node:
        case promql_parser.BinaryExpr() if str(node.op) in COMPARISONS:
            return not (node.modifier is not None and node.modifier.return_bool)
        case promql_parser.BinaryExpr() if str(node.op) == "or":
            return _compares(node.lhs) and _compares(node.rhs)
        case promql_parser.BinaryExpr() if str(node.op) in ("and", "unless"):
            return _compares(node.lhs) or _compares(node.rhs)
        case promql_parser.Call():
            return bool(node.func.name == "absent")
        case _:
            return False


def _duplicates(recordings: tuple[Recording, ...]) -> Iterator[Finding]:
    seen: set[tuple[str, ...]] = set()
    for rule in recordings:
        key = (rule.record, *(f"{name}={value}" for name, value in sorted(rule.labels.items())))
        if key in seen:
            yield Finding(check="rule/duplicate", rule=rule.record, text="recorded twice with the same labels")
        seen.add(key)
