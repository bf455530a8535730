"""``meltguard plan``: one decision from files, carried out by nobody."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.simulation import OutputFormat
from controller.errors import ControllerError, UsageError

if TYPE_CHECKING:
    from controller.planning.audit import DecisionRecord

EXIT_CHANGES_NEEDED = 3
MAX_FILE_BYTES = 64_000_000
"""Largest input that is read; a snapshot of 1,000 pools is about one megabyte."""


class Example(StrEnum):
    """Which input to print an example of."""

    POLICY = "policy"
    SNAPSHOT = "snapshot"


def plan(
    snapshot: Annotated[Path | None, typer.Option("--snapshot", metavar="FILE", help="The fleet, JSON.")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", metavar="FILE", help="What may be done, YAML.")] = None,
    forecast: Annotated[
        Path | None,
        typer.Option("--forecast", metavar="FILE", help="Lines of `meltguard forecast --output json`."),
    ] = None,
    memory: Annotated[
        Path | None, typer.Option("--memory", metavar="FILE", help="State of the decision before, JSON.")
    ] = None,
    now: Annotated[
        str | None, typer.Option("--now", metavar="TIME", help="Time of the decision; default: the snapshot's.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 3 when changes are needed.")] = False,
    audit: Annotated[
        Path | None, typer.Option("--audit", metavar="FILE", help="Append the decision to this audit log.")
    ] = None,
    example: Annotated[Example | None, typer.Option("--example", help="Print an input to begin with.")] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Make one dry-run decision from files: what would be done, why, and what would change it."""
    if example is not None:
        sys.stdout.write(_example(example))
        return
    if snapshot is None or policy is None:
        raise UsageError("--snapshot and --policy are needed; `meltguard plan --example snapshot` prints one")
    from controller.planning.describe import plan_text
    from controller.planning.documents import encode_plan

    record = _decided(snapshot, policy, forecast, memory, now)
    if audit is not None:
        _append(audit, record)
    made = record.plan
    sys.stdout.write(encode_plan(made).decode() + "\n" if output is OutputFormat.JSON else plan_text(made))
    if check and made.actions:
        raise typer.Exit(EXIT_CHANGES_NEEDED)


def _decided(
    snapshot: Path, policy: Path, forecast: Path | None, memory: Path | None, now: str | None
) -> DecisionRecord:
    """Return the decision with everything that it rests on.

    Raises:
        UsageError: If an input cannot be used.
    """
    from controller.planning import plan as decide
    from controller.planning.audit import DecisionRecord
    from controller.planning.documents import restore_state
    from controller.planning.dry_run import parse_forecasts, parse_policy, parse_snapshot
    from controller.types import ForecastSet

    try:
        rules = parse_policy(_read(policy).decode(), place=str(policy))
    except UnicodeDecodeError as error:
        raise UsageError(f"{policy}: not UTF-8 text; give the path of a policy") from error
    seen = parse_snapshot(_read(snapshot), place=str(snapshot))
    ahead = ForecastSet(demand=())
    if forecast is not None:
        ahead = parse_forecasts(_read(forecast), place=str(forecast))
    state = restore_state(None if memory is None else _read(memory))
    if state.problem:
        print(f"{memory}: {state.problem}", file=sys.stderr)
    at = seen.as_of if now is None else _time(now)
    if at.tzinfo is None:
        raise UsageError(f"{snapshot}: as_of has no time zone; write it with Z or an offset")
    made = decide(seen, ahead, rules, state.memory, at)
    return DecisionRecord(now=at, snapshot=seen, forecasts=ahead, policy=rules, memory=state.memory, plan=made)


def _read(path: Path) -> bytes:
    """Return the bytes of an input.

    Raises:
        UsageError: If it cannot be read or is too long.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_FILE_BYTES} bytes; give the input of one decision")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give the path of a file") from error


def _time(text: str) -> datetime:
    """Return a time that was typed.

    Raises:
        UsageError: If it is none, or has no zone.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--now: {text!r} is no time; write it like 2025-03-31T18:00:00Z") from error
    if at.tzinfo is None:
        raise UsageError(f"--now: {text!r} has no time zone; end it with Z or an offset")
    return at


def _append(path: Path, record: DecisionRecord) -> None:
    """Append a decision to an audit log; the lines that it refers to go with it.

    Raises:
        ControllerError: If the log cannot be written.
    """
    from controller.planning.audit import AuditTrail

    try:
        with path.open("ab") as file:
            file.writelines(AuditTrail().lines(record))
    except OSError as error:
        raise ControllerError(f"{path}: the audit log cannot be written ({error.strerror})") from error


def _example(kind: Example) -> str:
    """Return an input as it could be written, taken from the built-in surge."""
    import json

    import yaml

    from controller.planning.documents import encode_document
    from controller.simulator.builtin import load_builtin
    from controller.simulator.observer import Observer
    from controller.simulator.policy_from_scenario import policy_of
    from controller.simulator.world import World

    scenario = load_builtin("march-2025")
    if kind is Example.POLICY:
        fields = json.loads(encode_document(policy_of(scenario)))
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    world = World(scenario, seed=0)
    observer = Observer(world, with_models=False)
    for _ in range(30):
        observer.record(world.step())
    return json.dumps(json.loads(encode_document(observer.snapshot())), indent=2) + "\n"
