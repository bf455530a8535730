"""The written forms of a decision: ``meltguard.plan/v1`` for people, ``meltguard.state/v1`` for the next pass.

Pure: bytes in, values out. The operator keeps the state beside its lease, ``meltguard plan`` prints the plan, and
:mod:`controller.planning.audit` keeps both. Equal values give equal bytes. JSON knows no infinity, so a number that is
not finite is written as ``{"non_finite": "inf"}``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import numpy as np

from controller.errors import ControllerError
from controller.types import (
    Action,
    Alternative,
    Constraint,
    FlagAction,
    FlagInForce,
    FlagScope,
    FlagValue,
    InputAge,
    Ownership,
    Plan,
    PlanMemory,
    PoolAction,
    Reason,
    RegionVerdict,
)
from controller.types.memory import MEMORY_SCHEMA
from controller.types.plan import PLAN_SCHEMA

Value = TypeVar("Value")

NON_FINITE = "non_finite"
"""Key of the object that stands for a number which JSON cannot write."""
MAX_STATE_BYTES = 1_000_000
"""Largest state that is read; a ConfigMap or Lease annotation holds less."""


class UnreadableStateError(ControllerError):
    """The state of the last decision cannot be read; the message says why and what happens instead."""


class UnreadableDocumentError(ControllerError):
    """A plan or an audit line cannot be read; the message says what is wrong with it."""


# -- state -----------------------------------------------------------------------------------------------------------


class _StateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """``meltguard.state/v1``."""

    schema: str
    memory: PlanMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredState:
    """What a start found.

    Attributes:
        memory: The memory to go on with.
        problem: Why the written state was not used, for people; empty when it was, or when there was none.
    """

    memory: PlanMemory
    problem: str = ""


def encode_state(memory: PlanMemory) -> bytes:
    """Return the memory as ``meltguard.state/v1``, one line of JSON."""
    return _encode(_StateDocument(schema=MEMORY_SCHEMA, memory=memory))


def decode_state(data: bytes) -> PlanMemory:
    """Read a memory.

    Args:
        data: What :func:`encode_state` wrote.

    Returns:
        The memory.

    Raises:
        UnreadableStateError: If it is too long, no JSON, of another schema or not a memory.
    """
    if len(data) > MAX_STATE_BYTES:
        raise UnreadableStateError(f"state: {len(data)} bytes, at most {MAX_STATE_BYTES} are read")
    try:
        document = _decode(data, _StateDocument)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UnreadableStateError(f"state: {error}") from error
    if document.schema != MEMORY_SCHEMA:
        raise UnreadableStateError(f"state: schema {document.schema!r}, this version reads {MEMORY_SCHEMA}")
    times = [at for at, _ in document.memory.added_nodes]
    times += [
        at for entry in document.memory.regions for at in (*entry.relaxations, *entry.escalations, *entry.regrets)
    ]
    times += [
        at
        for entry in document.memory.regions
        for at in (entry.since, entry.limited_since, entry.restored_at)
        if at is not None
    ]
    pool_times = ("last_scale_out", "last_scale_in", "surplus_since")
    times += [at for pool in document.memory.pools for name in pool_times if (at := getattr(pool, name)) is not None]
    if any(at.tzinfo is None for at in times):
        raise UnreadableStateError("state: a time has no zone")
    return document.memory


def restore_state(data: bytes | None) -> RestoredState:
    """Return the memory to start with, whatever was found.

    An empty memory is the conservative start: :func:`~controller.planning.recall.recall` takes each region's position
    from the limits that are in force, every dwell and surplus begins anew, and nothing is lifted before it is over.

    Args:
        data: The written state; None when there is none.

    Returns:
        The memory, and what was wrong with the written one.
    """
    if data is None:
        return RestoredState(memory=PlanMemory())
    try:
        return RestoredState(memory=decode_state(data))
    except UnreadableStateError as error:
        return RestoredState(
            memory=PlanMemory(), problem=f"{error}; limits in force are kept and every dwell begins anew"
        )


# -- plan ------------------------------------------------------------------------------------------------------------


class _PoolEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="pool", rename={"from_": "from"}):
    """A change of size."""

    pool: str
    from_: int
    to: int
    ownership: Ownership
    why: Reason


class _FlagEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="flag", rename={"from_": "from"}):
    """A change of a flag."""

    key: str
    scope: FlagScope
    from_: FlagValue
    to: FlagValue
    expires_at: datetime | None
    why: Reason
    inverse: FlagValue


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """``meltguard.plan/v1``."""

    schema: str
    decision_id: str
    issued_at: datetime
    actions: tuple[_PoolEntry | _FlagEntry, ...]
    rung: dict[str, int]
    regions: tuple[RegionVerdict, ...]
    inputs: tuple[InputAge, ...]
    constraints: tuple[Constraint, ...]
    alternatives: tuple[Alternative, ...]
    reasons: tuple[Reason, ...]
    would_change: tuple[str, ...]
    flags: tuple[FlagInForce, ...] | None
    memory: PlanMemory


def plan_document(plan: Plan) -> PlanDocument:
    """Return the written form of a plan."""
    return PlanDocument(
        schema=PLAN_SCHEMA,
        decision_id=plan.decision_id,
        issued_at=plan.issued_at,
        actions=tuple(_entry(action) for action in plan.actions),
        rung={verdict.region: int(verdict.rung) for verdict in plan.regions},
        regions=plan.regions,
        inputs=plan.inputs,
        constraints=plan.constraints,
        alternatives=plan.alternatives,
        reasons=plan.reasons,
        would_change=plan.would_change,
        flags=plan.flags,
        memory=plan.memory,
    )


def plan_of(document: PlanDocument) -> Plan:
    """Return the plan of a written form.

    Args:
        document: As it was read.

    Returns:
        The plan, equal to the one that was written.

    Raises:
        UnreadableDocumentError: If it is of another schema.
    """
    if document.schema != PLAN_SCHEMA:
        raise UnreadableDocumentError(f"plan: schema {document.schema!r}, this version reads {PLAN_SCHEMA}")
    return Plan(
        decision_id=document.decision_id,
        issued_at=document.issued_at,
        actions=tuple(_action(entry) for entry in document.actions),
        regions=document.regions,
        inputs=document.inputs,
        constraints=document.constraints,
        alternatives=document.alternatives,
        reasons=document.reasons,
        would_change=document.would_change,
        memory=document.memory,
        flags=document.flags,
    )


def encode_plan(plan: Plan) -> bytes:
    """Return the plan as ``meltguard.plan/v1``, one line of JSON."""
    return _encode(plan_document(plan))


def decode_plan(data: bytes) -> Plan:
    """Read what :func:`encode_plan` wrote.

    Args:
        data: UTF-8 JSON.

    Returns:
        The plan, equal to the one that was written.

    Raises:
        UnreadableDocumentError: If it is no plan of this version.
    """
    return plan_of(read_document(data, PlanDocument, place="plan"))


def _entry(action: Action) -> _PoolEntry | _FlagEntry:
    """Return the written form of an action."""
    if isinstance(action, PoolAction):
        return _PoolEntry(
            pool=action.pool,
            from_=action.from_nodes,
            to=action.to_nodes,
            ownership=action.ownership,
            why=action.why,
        )
    return _FlagEntry(
        key=action.key,
        scope=action.scope,
        from_=action.from_value,
        to=action.to_value,
        expires_at=action.expires_at,
        why=action.why,
        inverse=action.inverse,
    )


def _action(entry: _PoolEntry | _FlagEntry) -> Action:
    """Return the action of a written form."""
    if isinstance(entry, _PoolEntry):
        return PoolAction(
            pool=entry.pool, from_nodes=entry.from_, to_nodes=entry.to, ownership=entry.ownership, why=entry.why
        )
    return FlagAction(
        key=entry.key,
        scope=entry.scope,
        from_value=entry.from_,
        to_value=entry.to,
        expires_at=entry.expires_at,
        why=entry.why,
        inverse=entry.inverse,
    )


# -- JSON ------------------------------------------------------------------------------------------------------------


def encode_document(value: object) -> bytes:
    """Return a value as JSON without line breaks; equal values give equal bytes.

    Args:
        value: Dataclasses, structs, arrays and plain data.

    Returns:
        UTF-8.
    """
    return _encode(value)


def read_document(data: bytes, kind: type[Value], *, place: str) -> Value:
    """Read what :func:`encode_document` wrote.

    Args:
        data: UTF-8 JSON.
        kind: What it should be.
        place: What to call it in errors.

    Returns:
        The value.

    Raises:
        UnreadableDocumentError: If it is not of that kind.
    """
    try:
        return _decode(data, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UnreadableDocumentError(f"{place}: {error}") from error


def _encode(value: object) -> bytes:
    """Return JSON; sets and dicts are ordered, arrays are lists, numbers that JSON lacks are marked."""
    plain = msgspec.to_builtins(_marked(value), enc_hook=_plain_array, order="deterministic")
    return msgspec.json.encode(plain)


def _decode(data: bytes, kind: type[Value]) -> Value:
    """Return a value of a kind from JSON."""
    return msgspec.convert(_unmarked(msgspec.json.decode(data)), kind, dec_hook=_array)


def _plain_array(value: object) -> object:
    """Return an array as nested lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} has no written form")


def _array(kind: type[object], value: object) -> object:
    """Return nested lists as the array that a field asks for."""
    del kind
    return np.asarray(value, dtype=np.float64)


def _marked(node: object) -> object:
    """Return plain data in which every number that is not finite is marked; the rest keeps its order."""
    if isinstance(node, float):
        return node if math.isfinite(node) else {NON_FINITE: repr(node)}
    if isinstance(node, np.ndarray):
        return _marked(node.tolist())
    if is_dataclass(node) and not isinstance(node, type):
        return {field.name: _marked(getattr(node, field.name)) for field in fields(node)}
    if isinstance(node, msgspec.Struct):
        return _marked_struct(node)
    if isinstance(node, dict):
        return {key: _marked(value) for key, value in node.items()}
    if isinstance(node, frozenset | set):
        return sorted(node)
    if isinstance(node, list | tuple):
        return [_marked(value) for value in node]
    return node


def _marked_struct(node: msgspec.Struct) -> dict[str, object]:
    """Return a struct as :func:`_marked` does, under its written names and with its tag."""
    config = node.__struct_config__
    head: dict[str, object] = {} if config.tag_field is None else {config.tag_field: config.tag}
    names = zip(node.__struct_fields__, node.__struct_encode_fields__, strict=True)
    return {**head, **{written: _marked(getattr(node, name)) for name, written in names}}


def _unmarked(node: Any) -> Any:
    """Return plain data with marked numbers put back."""
    if isinstance(node, dict):
        if node.keys() == {NON_FINITE} and node[NON_FINITE] in ("inf", "-inf", "nan"):
            return float(node[NON_FINITE])
        return {key: _unmarked(value) for key, value in node.items()}
    return [_unmarked(value) for value in node] if isinstance(node, list) else node
