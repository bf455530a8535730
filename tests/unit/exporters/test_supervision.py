"""Decisions about collectors: what is stuck, what is replaced, what is tried again and how often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporters.messages import CallInFlight
from exporters.supervision import (
    Action,
    Collectors,
    CollectorView,
    Deadlines,
    End,
    Memory,
    Promote,
    Role,
    Start,
    Stuck,
    Why,
    decide,
    note_answer,
    note_failure,
)

DEADLINES = Deadlines()


def _decide(
    collectors: Collectors, memory: Memory, now: float, *, num_abandoned: int = 0, any_lost: bool = False
) -> list[Action]:
    return decide(collectors, memory, DEADLINES, now, num_abandoned=num_abandoned, any_lost=any_lost)


def _at_work(now: float, *hanging: tuple[str, float], wanted: tuple[str, ...] = ("a", "b", "c")) -> CollectorView:
    calls = tuple(CallInFlight(uuid=uuid, call="power", since_monotonic=since) for uuid, since in hanging)
    return CollectorView(
        started_at=0.0, heartbeat_at=now, opened_at=1.0, wanted=set(wanted), answered=set(wanted), in_flight=calls
    )


def _memory() -> Memory:
    return Memory(lost_pause=DEADLINES.lost_pause)


def test_first_collector_starts_at_once() -> None:
    """With nothing running, a collector is started."""
    assert _decide({}, _memory(), 10.0) == [Start(role=Role.CANDIDATE, why=Why.START)]


def test_healthy_collector_is_left_alone() -> None:
    """Nothing happens while nothing is wrong."""
    assert _decide({Role.ACTIVE: _at_work(10.0)}, _memory(), 10.0) == []


def test_only_the_hanging_gpu_is_left_out() -> None:
    """A call past its deadline takes its own GPU out, and a replacement is started."""
    memory = _memory()
    actions = _decide({Role.ACTIVE: _at_work(10.0, ("b", 7.9), ("c", 8.5))}, memory, 10.0)
    assert [action.call.uuid for action in actions if isinstance(action, Stuck)] == ["b"]
    assert Start(role=Role.CANDIDATE, why=Why.STUCK) in actions
    assert set(memory.quarantine) == {"b"}


def test_call_within_its_deadline_is_no_reason() -> None:
    """A slow call is not a stuck one."""
    assert _decide({Role.ACTIVE: _at_work(10.0, ("b", 8.1))}, _memory(), 10.0) == []


def test_when_all_hang_the_first_is_blamed() -> None:
    """Calls that wait for the same lock inside the driver hang together; the one that began first holds it."""
    memory = _memory()
    _decide({Role.ACTIVE: _at_work(10.0, ("a", 7.2), ("b", 7.0), ("c", 7.1))}, memory, 10.0)
    assert set(memory.quarantine) == {"b"}


def test_replacement_takes_over_when_it_has_read_all() -> None:
    """The old collector runs on until the new one has answers from every GPU that it wants."""
    candidate = CollectorView(started_at=9.0, heartbeat_at=10.0, opened_at=9.5, wanted={"a", "c"}, answered={"a"})
    collectors = {Role.ACTIVE: _at_work(10.0), Role.CANDIDATE: candidate}
    assert _decide(collectors, _memory(), 10.0) == []
    candidate.answered.add("c")
    assert _decide(collectors, _memory(), 10.0) == [Promote()]


def test_replacement_takes_over_late_rather_than_never() -> None:
    """A GPU that does not answer the new collector either cannot hold up the change."""
    candidate = CollectorView(started_at=1.0, heartbeat_at=10.0, opened_at=4.0, wanted={"a"}, answered=set())
    assert Promote() in _decide({Role.ACTIVE: _at_work(10.0), Role.CANDIDATE: candidate}, _memory(), 10.0)


def test_silent_collector_is_ended_and_replaced() -> None:
    """No heartbeat for three seconds means that the process does not run any more."""
    actions = _decide({Role.ACTIVE: _at_work(6.0)}, _memory(), 10.0)
    assert End(role=Role.ACTIVE, why="fell silent") in actions
    assert any(isinstance(action, Start) for action in actions)


def test_early_failures_are_tried_again_ever_more_slowly() -> None:
    """Pauses double from a quarter of a second to the bound, and a proven collector resets them."""
    memory = _memory()
    pauses = []
    for _ in range(10):
        note_failure(CollectorView(started_at=99.9), memory, DEADLINES, 100.0)
        pauses.append(memory.start_at - 100.0)
    assert pauses[:4] == [0.0, 0.25, 0.5, 1.0]
    assert max(pauses) == DEADLINES.longest_restart_pause
    note_failure(CollectorView(started_at=0.0, opened_at=1.0), memory, DEADLINES, 100.0)
    assert memory.start_at == 100.0


def test_a_collector_that_had_read_is_replaced_within_a_second() -> None:
    """However often it is killed, a collector that does its work is missed for a second at most."""
    memory = _memory()
    pauses = []
    for _ in range(10):
        note_failure(CollectorView(started_at=99.0, opened_at=99.5, answered={"a"}), memory, DEADLINES, 100.0)
        pauses.append(memory.start_at - 100.0)
    assert pauses[:3] == [0.0, 0.25, 0.5]
    assert max(pauses) == 1.0


def test_left_out_gpu_is_probed_and_let_in() -> None:
    """After a pause a probe reads the GPU alone; its answer brings the GPU back through a fresh collector."""
    memory = _memory()
    _decide({Role.ACTIVE: _at_work(10.0, ("b", 7.0))}, memory, 10.0)
    assert Start(role=Role.PROBE, why=Why.PROBE, only="b") in _decide({Role.ACTIVE: _at_work(15.1)}, memory, 15.1)
    note_answer("b", memory)
    assert memory.quarantine == {}
    assert Start(role=Role.CANDIDATE, why=Why.RELEASED) in _decide({Role.ACTIVE: _at_work(16.0)}, memory, 16.0)


def test_failed_probes_come_ever_more_rarely() -> None:
    """A probe that hangs is ended, and the next one waits twice as long, up to the bound."""
    memory = _memory()
    _decide({Role.ACTIVE: _at_work(10.0, ("b", 7.0))}, memory, 10.0)
    now, pauses = 20.0, []
    for _ in range(8):
        probe = CollectorView(started_at=now - 11.0, heartbeat_at=now, opened_at=now - 10.0, only="b")
        actions = _decide({Role.ACTIVE: _at_work(now), Role.PROBE: probe}, memory, now)
        assert End(role=Role.PROBE, why="the GPU still hangs") in actions
        pauses.append(memory.quarantine["b"].probe_at - now)
        now = memory.quarantine["b"].probe_at + 20.0
    assert pauses[:3] == [10.0, 20.0, 40.0]
    assert max(pauses) == DEADLINES.longest_pause


def test_lost_gpu_is_looked_for_ever_more_rarely() -> None:
    """Only a fresh process enumerates anew, so a lost GPU costs a replacement now and then."""
    memory = _memory()
    starts = []
    for tick in range(700):
        now = float(tick)
        actions = _decide({Role.ACTIVE: _at_work(now)}, memory, now, any_lost=True)
        starts += [now for action in actions if isinstance(action, Start)]
    assert starts[0] == 5.0
    assert len(starts) <= 8


def test_unkillable_processes_stop_replacements_then_everything() -> None:
    """Processes that hang inside the kernel pile up to a bound and no further."""
    memory = _memory()
    actions = _decide({Role.ACTIVE: _at_work(10.0, ("b", 7.0))}, memory, 10.0, num_abandoned=4)
    assert not [action for action in actions if isinstance(action, Start)]
    assert _decide({}, _memory(), 10.0, num_abandoned=4) != []
    assert _decide({}, _memory(), 10.0, num_abandoned=8) == []


@given(st.data())
def test_at_most_one_collector_of_each_role(data: st.DataObject) -> None:
    """Whatever the views say, no role is started while it runs, and nothing is started twice at once."""
    roles = data.draw(st.sets(st.sampled_from(list(Role))))
    now = data.draw(st.floats(min_value=0.0, max_value=1000.0))
    times = st.one_of(st.none(), st.floats(min_value=0.0, max_value=now))
    collectors = {
        role: CollectorView(
            started_at=data.draw(st.floats(min_value=0.0, max_value=now)),
            heartbeat_at=data.draw(times),
            opened_at=data.draw(times),
            wanted=data.draw(st.sets(st.sampled_from("abc"))),
            in_flight=tuple(
                CallInFlight(uuid=uuid, call="x", since_monotonic=data.draw(st.floats(min_value=0.0, max_value=now)))
                for uuid in data.draw(st.sets(st.sampled_from("abc")))
            ),
        )
        for role in roles
    }
    memory = _memory()
    actions = _decide(collectors, memory, now, any_lost=data.draw(st.booleans()))
    started = [action.role for action in actions if isinstance(action, Start)]
    ended = {action.role for action in actions if isinstance(action, End)}
    assert len(started) == len(set(started))
    assert not set(started) & (roles - ended)


def test_what_hangs_beside_the_first_is_judged_in_the_replacement() -> None:
    """While a replacement starts nobody else is blamed; once it hangs itself it takes over, and the next one goes."""
    memory = _memory()
    active = _at_work(10.0, ("b", 7.5), ("c", 7.6))
    _decide({Role.ACTIVE: active}, memory, 10.0)
    opening = CollectorView(started_at=10.0, heartbeat_at=10.2)
    assert _decide({Role.ACTIVE: active, Role.CANDIDATE: opening}, memory, 10.3) == []
    hanging = CallInFlight(uuid="c", call="power", since_monotonic=10.5)
    candidate = CollectorView(
        started_at=10.0,
        heartbeat_at=12.6,
        opened_at=10.4,
        wanted={"a", "c"},
        answered={"a"},
        in_flight=(hanging,),
    )
    active.heartbeat_at = 12.6
    assert _decide({Role.ACTIVE: active, Role.CANDIDATE: candidate}, memory, 12.4) == []
    assert _decide({Role.ACTIVE: active, Role.CANDIDATE: candidate}, memory, 12.6) == [Promote()]
    actions = _decide({Role.ACTIVE: candidate}, memory, 12.7)
    assert [action.call.uuid for action in actions if isinstance(action, Stuck)] == ["c"]
