"""Decides what to do about collectors: start, replace, probe, promote, give up. Pure; the supervisor acts.

The cases, in the order in which they are looked at:

1. a collector died or fell silent, or cannot open its source: end it; start another after a growing pause;
2. a call of one GPU hangs past the deadline: leave that GPU out (the one that hangs longest, as the others may wait for
   its lock) and replace the collector, the old one running on until the new one has read the others;
3. GPUs were added, or are lost and may have come back: replace in the same way, since only a fresh process enumerates;
4. a GPU that was left out is tried by a probe, a collector that reads this GPU alone, after a growing pause; when it
   answers, the GPU is let in again;
5. processes that the kernel does not give up (a call stuck inside the driver) are counted, and above a bound nothing
   more is started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from exporters.messages import CallInFlight


class Role(StrEnum):
    """What a collector is for."""

    ACTIVE = "active"
    CANDIDATE = "candidate"
    PROBE = "probe"


class Why(StrEnum):
    """Why a collector was started; the label ``why`` of ``meltguard_exporter_collector_starts_total``."""

    START = "start"
    DIED = "died"
    STUCK = "stuck"
    RELEASED = "released"
    TOPOLOGY = "topology"
    LOST = "lost"
    PROBE = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Every bound of the supervision, in seconds.

    Attributes:
        call: A driver call of one GPU that takes longer is stuck.
        silence: A collector without a heartbeat for this long is dead.
        start: A new process must send its first heartbeat within this time.
        open: Opening the driver may take this long (several seconds per GPU without persistence mode).
        ready: After opening, a replacement takes over at the latest after this time, or when a call hangs in it too.
        probe: A GPU that was left out must answer a probe within this time.
        probe_pause: First pause between probes; doubles up to ``longest_pause``.
        lost_pause: First pause before a lost GPU is looked for again; doubles up to ``longest_pause``.
        restart_pause: First pause after a collector that failed early; doubles up to ``longest_restart_pause``, or
            up to ``longest_answered_pause`` when it had read a GPU.
        proven: A collector that lived this long failed late: it is replaced at once.
        longest_pause: See above.
        longest_restart_pause: See above.
        longest_answered_pause: See above.
        max_abandoned: Above so many processes that do not die, no replacement and no probe is started.
        max_abandoned_ever: Above so many, nothing is started at all.
    """

    call: float = 2.0
    silence: float = 3.0
    start: float = 10.0
    open: float = 30.0
    ready: float = 5.0
    probe: float = 10.0
    probe_pause: float = 5.0
    lost_pause: float = 5.0
    restart_pause: float = 0.25
    proven: float = 5.0
    longest_pause: float = 300.0
    longest_restart_pause: float = 15.0
    longest_answered_pause: float = 1.0
    max_abandoned: int = 4
    max_abandoned_ever: int = 8


@dataclass(slots=True, kw_only=True)
class CollectorView:
    """What is known of one collector.

    Attributes:
        started_at: Monotonic start time.
        heartbeat_at: Monotonic time at which the last heartbeat arrived; None before the first.
        opened_at: When it said which GPUs there are; None before.
        wanted: The GPUs that it is to read; known once it has opened.
        answered: Those of them that it has read or declared down.
        in_flight: Calls that it reported as running.
        only: The GPU that a probe reads.
    """

    started_at: float
    heartbeat_at: float | None = None
    opened_at: float | None = None
    wanted: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    in_flight: tuple[CallInFlight, ...] = ()
    only: str | None = None


@dataclass(slots=True, kw_only=True)
class Quarantine:
    """A GPU that is left out because its calls hang."""

    call: CallInFlight
    probe_at: float
    pause: float


@dataclass(slots=True, kw_only=True)
class Memory:
    """What the supervision remembers.

    Attributes:
        quarantine: GPUs left out, by UUID.
        start_at: Nothing is started before this time.
        restart_pause: Next pause after an early failure.
        num_starts: Collectors started so far.
        lost_at: When lost GPUs are looked for next; None while none is lost.
        lost_pause: Next pause between such looks.
        replace: A replacement is wanted, and why.
    """

    quarantine: dict[str, Quarantine] = field(default_factory=dict)
    start_at: float = 0.0
    restart_pause: float = 0.0
    num_starts: int = 0
    lost_at: float | None = None
    lost_pause: float = 0.0
    replace: Why | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a collector."""

    role: Role
    why: Why
    only: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Kill a collector."""

    role: Role
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Let the candidate take over; the active one, if any, ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """Publish that a GPU hangs in this call."""

    call: CallInFlight


Action = Start | End | Promote | Stuck
Collectors = dict[Role, CollectorView]


def decide(
    collectors: Collectors, memory: Memory, deadlines: Deadlines, now: float, *, num_abandoned: int, any_lost: bool
) -> list[Action]:
    """Return what to do now; updates ``memory`` as if it were done.

    Args:
        collectors: Those that run, by role.
        memory: What earlier decisions left.
        deadlines: The bounds.
        now: Monotonic time.
        num_abandoned: Killed processes that have not died.
        any_lost: Whether a GPU is missing that only a fresh enumeration can bring back.

    Returns:
        What to do, in order.
    """
    actions: list[Action] = [
        End(role=role, why=why)
        for role, view in collectors.items()
        if (why := _overdue(role, view, deadlines, now)) is not None
    ]
    ended = {action.role for action in actions if isinstance(action, End)}
    alive = {role: view for role, view in collectors.items() if role not in ended}
    if Role.PROBE in ended:
        _after_failed_probe(collectors[Role.PROBE], memory, deadlines, now)
    active = alive.get(Role.ACTIVE)
    # A collector that is being replaced is judged no more: what hangs beside the first may only wait for its lock.
    if active is not None and Role.CANDIDATE not in alive:
        actions += _look_for_stuck(active, memory, deadlines, now)
    _look_for_lost(memory, deadlines, now, any_lost=any_lost)
    candidate = alive.get(Role.CANDIDATE)
    if candidate is not None:
        # With nothing to take over from, the first one to open is at work at once.
        if candidate.opened_at is not None and (active is None or _ready(candidate, deadlines, now)):
            actions.append(Promote())
    elif active is None:
        if now >= memory.start_at and num_abandoned < deadlines.max_abandoned_ever:
            why = Why.DIED if memory.num_starts else Why.START
            actions.append(_start(Role.CANDIDATE, why, memory))
    elif memory.replace is not None and num_abandoned < deadlines.max_abandoned:
        actions.append(_start(Role.CANDIDATE, memory.replace, memory))
    if Role.PROBE not in alive and active is not None and num_abandoned < deadlines.max_abandoned:
        actions += _next_probe(memory, now)
    return actions


def note_failure(view: CollectorView, memory: Memory, deadlines: Deadlines, now: float) -> None:
    """Remember that an active or candidate collector ended by itself or was killed for cause.

    Args:
        view: What was known of it.
        memory: Takes the time before which nothing is started.
        deadlines: The bounds.
        now: Monotonic time.
    """
    if view.opened_at is not None and now - view.started_at >= deadlines.proven:
        memory.restart_pause = 0.0
    longest = deadlines.longest_answered_pause if view.answered else deadlines.longest_restart_pause
    memory.start_at = now + min(memory.restart_pause, longest)
    memory.restart_pause = min(max(2.0 * memory.restart_pause, deadlines.restart_pause), longest)


def note_answer(uuid: str, memory: Memory) -> None:
    """Let a GPU in again that was left out and answers."""
    if memory.quarantine.pop(uuid, None) is not None:
        memory.replace = Why.RELEASED


def _overdue(role: Role, view: CollectorView, deadlines: Deadlines, now: float) -> str | None:
    if view.heartbeat_at is None:
        return "never spoke" if now - view.started_at > deadlines.start else None
    if now - view.heartbeat_at > deadlines.silence:
        return "fell silent"
    if view.opened_at is None and now - view.started_at > deadlines.open:
        return "opening the source hangs"
    if role is Role.PROBE and now - view.started_at > deadlines.probe:
        return "the GPU still hangs"
    return None


def _look_for_stuck(active: CollectorView, memory: Memory, deadlines: Deadlines, now: float) -> list[Action]:
    """Leave out the GPU whose call hangs longest: the others may wait for a lock that it holds inside the driver.

    One that hangs by itself hangs in the replacement too, and is left out next.
    """
    hanging = [
        call
        for call in active.in_flight
        if call.uuid and call.uuid not in memory.quarantine and now - call.since_monotonic > deadlines.call
    ]
    if not hanging:
        return []
    call = min(hanging, key=lambda call: call.since_monotonic)
    memory.quarantine[call.uuid] = Quarantine(
        call=call, probe_at=now + deadlines.probe_pause, pause=deadlines.probe_pause
    )
    memory.replace = Why.STUCK
    return [Stuck(call=call)]


def _look_for_lost(memory: Memory, deadlines: Deadlines, now: float, *, any_lost: bool) -> None:
    if not any_lost:
        memory.lost_at, memory.lost_pause = None, deadlines.lost_pause
    elif memory.lost_at is None:
        memory.lost_at = now + memory.lost_pause
    elif now >= memory.lost_at:
        memory.replace = memory.replace or Why.LOST
        memory.lost_pause = min(2.0 * memory.lost_pause, deadlines.longest_pause)
        memory.lost_at = now + memory.lost_pause


def _ready(candidate: CollectorView, deadlines: Deadlines, now: float) -> bool:
    """Whether to take over: all GPUs answered, or waiting is in vain and the next hanging one is to be looked for."""
    opened_at = candidate.opened_at or now
    hangs = any(call.uuid and now - call.since_monotonic > deadlines.call for call in candidate.in_flight)
    return candidate.answered >= candidate.wanted or hangs or now - opened_at > deadlines.ready


def _start(role: Role, why: Why, memory: Memory, only: str | None = None) -> Start:
    if role is Role.CANDIDATE:
        memory.replace = None
    memory.num_starts += 1
    return Start(role=role, why=why, only=only)


def _next_probe(memory: Memory, now: float) -> list[Action]:
    due = [uuid for uuid, entry in memory.quarantine.items() if now >= entry.probe_at]
    if not due:
        return []
    return [_start(Role.PROBE, Why.PROBE, memory, only=min(due, key=lambda uuid: memory.quarantine[uuid].probe_at))]


def _after_failed_probe(probe: CollectorView, memory: Memory, deadlines: Deadlines, now: float) -> None:
    entry = memory.quarantine.get(probe.only or "")
    if entry is not None:
        entry.pause = min(2.0 * entry.pause, deadlines.longest_pause)
        entry.probe_at = now + entry.pause
