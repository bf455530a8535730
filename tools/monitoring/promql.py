"""Reads PromQL: which series an expression selects, and its tree for the lint. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """One selection of series.

    Attributes:
        metric: Name of the metric; empty where only labels select.
        text: The selector as PromQL, without range and offset.
        range_seconds: Length of its range, None for an instant vector.
        function: Name of the function that is applied to it directly, empty without one.
        labels: Labels that it fixes by equality.
    """

    metric: str
    text: str
    range_seconds: float | None
    function: str
    labels: frozenset[str]


class PromqlError(ValueError):
    """An expression cannot be read; the message names it and says where it breaks."""


def parse(expr: str) -> Any:  # the parser's nodes have no common fields; the functions below narrow them
    """Return the tree of an expression.

    Args:
        expr: PromQL.

    Returns:
        A node of `promql_parser`.

    Raises:
        PromqlError: If it is no PromQL.
    """
    try:
        return promql_parser.parse(expr)
    except ValueError as error:
        raise PromqlError(f"{expr!r} is no PromQL: {error}") from error


def children(node: Any) -> tuple[Any, ...]:
    """Return the nodes directly below a node, parameters of aggregations included."""
    match node:
        case promql_parser.BinaryExpr():
            return (node.lhs, node.rhs)
        case promql_parser.Call():
            return tuple(node.args)
        case promql_parser.AggregateExpr():
            return (node.expr, node.param) if node.param is not None else (node.expr,)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            return (node.expr,)
        case _:
            return ()


def walk(node: Any) -> Iterator[Any]:
    """Yield a node and everything below it, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


def unwrapped(node: Any) -> Any:
    """Return what stands inside brackets."""
    while isinstance(node, promql_parser.ParenExpr):
        node = node.expr
    return node


def selectors(expr: str) -> tuple[Selector, ...]:
    """Return every selection of series in an expression, in order.

    Args:
        expr: PromQL.

    Returns:
        The selectors.

    Raises:
        PromqlError: If it is no PromQL.
    """
    return tuple(_selectors(parse(expr), ""))


def _selectors(node: Any, function: str) -> Iterator[Selector]:
    match node:
        case promql_parser.VectorSelector():
            yield _selector(node, None, function)
        case promql_parser.MatrixSelector():
            yield _selector(node.vector_selector, node.range.total_seconds(), function)
        case promql_parser.Call():
            for child in node.args:
                yield from _selectors(child, node.func.name)
        case promql_parser.ParenExpr():
            yield from _selectors(node.expr, function)
        case _:
            for child in children(node):
                yield from _selectors(child, "")


def _selector(node: Any, range_seconds: float | None, function: str) -> Selector:
    matchers = list(node.matchers.matchers) if node.matchers is not None else []
    equal = frozenset(each.name for each in matchers if each.op == promql_parser.MatchOp.Equal)
    inside = ",".join(str(each) for each in matchers)
    name = node.name or ""
    return Selector(
        metric=name,
        text=f"{name}{{{inside}}}" if inside else name,
        range_seconds=range_seconds,
        function=function,
        labels=equal,
    )
