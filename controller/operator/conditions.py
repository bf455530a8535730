"""Conditions of a status: verdicts with a reason, and the time since when they hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

MAX_MESSAGE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong: a word for machines and a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition without its times: True, False, or None for unknown."""

    type: str
    status: bool | None
    reason: str
    message: str = ""

    @property
    def status_text(self) -> str:
        """The status as the API writes it."""
        return "Unknown" if self.status is None else str(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCondition:
    """A condition as the object has it now, as far as the next one depends on it."""

    type: str
    status: str
    since: str


def held_conditions(entry: object) -> tuple[HeldCondition, ...]:
    """Return the conditions of an object of the API; nonsense among them is passed over."""
    status = entry.get("status") if isinstance(entry, dict) else None
    rows = status.get("conditions") if isinstance(status, dict) else None
    return tuple(
        HeldCondition(
            type=str(row.get("type")), status=str(row.get("status")), since=str(row.get("lastTransitionTime"))
        )
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    )


def conditions(
    verdicts: Iterable[Verdict], held: tuple[HeldCondition, ...], *, generation: int, now: datetime
) -> list[dict[str, object]]:
    """Return the conditions to write.

    Args:
        verdicts: What holds now.
        held: What the object says; a verdict that stays keeps its time.
        generation: Of the spec that was judged.
        now: Time of the change of those that changed.

    Returns:
        Conditions in the order of the verdicts.
    """
    before = {row.type: row for row in held}
    rows: list[dict[str, object]] = []
    for verdict in verdicts:
        old = before.get(verdict.type)
        kept = old is not None and old.status == verdict.status_text
        rows.append(
            {
                "type": verdict.type,
                "status": verdict.status_text,
                "reason": verdict.reason,
                "message": verdict.message[:MAX_MESSAGE],
                "lastTransitionTime": old.since if old is not None and kept else time_text(now),
                "observedGeneration": generation,
            }
        )
    return rows


@lru_cache(maxsize=4096)
def time_text(at: datetime) -> str:
    """Return a time as the API writes it; every pool of a pass is stamped with the same few."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ready_verdict(problems: tuple[Problem, ...]) -> Verdict:
    """Return the verdict ``Ready``: the first problem gives the reason, all of them the message."""
    if not problems:
        return Verdict(type="Ready", status=True, reason="AsExpected", message="")
    return Verdict(
        type="Ready", status=False, reason=problems[0].code, message="; ".join(problem.text for problem in problems)
    )
