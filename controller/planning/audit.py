"""The audit log: one JSON line a decision, complete enough to decide again and compare to the byte.

Pure: lines in, lines out; whoever owns a file writes them. Policies and forecasts change rarely and are long, so they
have lines of their own, named by a hash of their content, and a decision refers to them. A log that is cut at a line
border stays readable: :class:`AuditTrail` repeats both at the start of every file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from controller.planning.documents import (
    PlanDocument,
    UnreadableDocumentError,
    encode_document,
    encode_plan,
    plan_document,
    plan_of,
    read_document,
)
from controller.planning.planner import plan
from controller.types import FleetSnapshot, ForecastSet, Plan, PlanMemory, Policy

Value = TypeVar("Value")

DECISION_SCHEMA = "meltguard.decision/v1"
MAX_LINE_BYTES = 16_000_000
"""Longest line that is read; a decision over 1,000 pools takes about one."""
MAX_CONTEXTS = 4096
"""Most policies and forecasts that a reader remembers; older ones are forgotten first."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Any line of the log."""

    schema: str = DECISION_SCHEMA


class _PolicyLine(_Line, frozen=True, kw_only=True, tag="policy"):
    """A policy and its name."""

    id: str
    policy: Policy


class _ForecastLine(_Line, frozen=True, kw_only=True, tag="forecasts"):
    """Forecasts and their name."""

    id: str
    forecasts: ForecastSet


class _DecisionLine(_Line, frozen=True, kw_only=True, tag="decision"):
    """One decision: its arguments and its plan."""

    decision_id: str
    now: datetime
    policy_id: str
    forecasts_id: str
    memory: PlanMemory
    snapshot: FleetSnapshot
    plan: PlanDocument


# A union is no class, so the reader takes it untyped; `_read_line` gives it its type back.
_AnyLine: Any = _PolicyLine | _ForecastLine | _DecisionLine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecisionRecord:
    """One decision with everything that it rested on.

    Attributes:
        now: When it was made.
        snapshot: What was seen.
        forecasts: What was expected.
        policy: What was allowed.
        memory: What was remembered.
        plan: What was decided.
    """

    now: datetime
    snapshot: FleetSnapshot
    forecasts: ForecastSet
    policy: Policy
    memory: PlanMemory
    plan: Plan

    def replayed(self) -> Plan:
        """Return the plan that today's planner makes of the same arguments."""
        return plan(self.snapshot, self.forecasts, self.policy, self.memory, self.now)

    def is_identical(self) -> bool:
        """Return whether deciding again gives the same bytes."""
        return encode_plan(self.replayed()) == encode_plan(self.plan)


class AuditTrail:
    """Turns decisions into the lines of one log file; knows what the file already holds."""

    def __init__(self) -> None:
        """Start a new file."""
        self._policy: tuple[Policy, str] | None = None
        self._forecasts: tuple[ForecastSet, str] | None = None

    def lines(self, record: DecisionRecord) -> tuple[bytes, ...]:
        """Return the lines to append for a decision.

        Args:
            record: The decision.

        Returns:
            One to three lines, each with its line break.
        """
        found: list[_Line] = []
        if self._policy is None or self._policy[0] is not record.policy:
            name = _name(record.policy)
            if self._policy is None or self._policy[1] != name:
                found.append(_PolicyLine(id=name, policy=record.policy))
            self._policy = record.policy, name
        if self._forecasts is None or self._forecasts[0] is not record.forecasts:
            name = _name(record.forecasts)
            if self._forecasts is None or self._forecasts[1] != name:
                found.append(_ForecastLine(id=name, forecasts=record.forecasts))
            self._forecasts = record.forecasts, name
        decision = _DecisionLine(
            decision_id=record.plan.decision_id,
            now=record.now,
            policy_id=self._policy[1],
            forecasts_id=self._forecasts[1],
            memory=record.memory,
            snapshot=record.snapshot,
            plan=plan_document(record.plan),
        )
        return tuple(encode_document(line) + b"\n" for line in (*found, decision))


def read_audit(lines: Iterable[bytes]) -> Iterator[DecisionRecord]:
    """Read a log.

    Args:
        lines: Its lines, with or without their breaks; empty ones are passed over.

    Yields:
        The decisions in their order.

    Raises:
        UnreadableDocumentError: Naming the first line that cannot be read, or that refers to something not in the log.
    """
    policies: dict[str, Policy] = {}
    forecasts: dict[str, ForecastSet] = {}
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        place = f"audit line {number}"
        if len(text) > MAX_LINE_BYTES:
            raise UnreadableDocumentError(f"{place}: {len(text)} bytes, at most {MAX_LINE_BYTES} are read")
        line = _read_line(text, place)
        if isinstance(line, _PolicyLine):
            _keep(policies, line.id, line.policy)
        elif isinstance(line, _ForecastLine):
            _keep(forecasts, line.id, line.forecasts)
        else:
            if line.policy_id not in policies or line.forecasts_id not in forecasts:
                raise UnreadableDocumentError(f"{place}: its policy or forecasts are not in the log; keep whole files")
            yield DecisionRecord(
                now=line.now,
                snapshot=line.snapshot,
                forecasts=forecasts[line.forecasts_id],
                policy=policies[line.policy_id],
                memory=line.memory,
                plan=plan_of(line.plan),
            )


def _read_line(text: bytes, place: str) -> _PolicyLine | _ForecastLine | _DecisionLine:
    """Return one line of the log.

    Raises:
        UnreadableDocumentError: If it is none.
    """
    line: _PolicyLine | _ForecastLine | _DecisionLine = read_document(text, _AnyLine, place=place)
    if line.schema != DECISION_SCHEMA:
        raise UnreadableDocumentError(f"{place}: schema {line.schema!r}, this version reads {DECISION_SCHEMA}")
    return line


def _name(value: Policy | ForecastSet) -> str:
    """Return the name of a long value: a hash of its written form."""
    return hashlib.sha256(encode_document(value)).hexdigest()[:16]


def _keep(known: dict[str, Value], name: str, value: Value) -> None:
    """Remember a value under its name; the oldest goes when there are too many."""
    if len(known) >= MAX_CONTEXTS:
        del known[next(iter(known))]
    known[name] = value
