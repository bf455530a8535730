"""Restores that had to be taken back make the next ones wait, so that the ladder does not hunt between two steps."""

from dataclasses import replace
from datetime import datetime, timedelta

from controller.planning import plan
from controller.planning.ladder import STEP_DWELL_SECONDS
from controller.planning.recall import REGRET_MEMORY
from controller.planning.remember import REGRET_WINDOW
from controller.planning.stability import MAX_REGRETS
from controller.types import PlanMemory, Rung
from tests.planning_samples import NOW, forecasts, limited, policy, snapshot

RULES = policy(num_regions=1)
FIRST_QUOTA = RULES.ladder.first_of(Rung.LOWER_FREE_QUOTA)
POSITION = FIRST_QUOTA + 4
"""A quota in the middle of the ramp, with milder ones to go back to."""


def _memory(position: int, *, dwelt_seconds: float, regrets: int = 0) -> PlanMemory:
    """A region at a position since a while, with restores that were taken back a minute ago."""
    memory = limited(RULES, position, since=NOW - timedelta(seconds=dwelt_seconds))
    taken_back = (NOW - timedelta(minutes=1),) * regrets
    return replace(memory, regions=tuple(replace(entry, regrets=taken_back) for entry in memory.regions))


def _position(load: float, memory: PlanMemory, now: datetime = NOW) -> int:
    """The position after a decision at a load that stays as it is."""
    made = plan(snapshot(RULES, load, now=now), forecasts(RULES, load, now=now), RULES, memory, now)
    return made.memory.regions[0].step_index


def _edge() -> float:
    """The load at which one position milder just holds and two would not."""
    for load in (1.0 + 0.01 * step for step in range(200)):
        restored = _position(load, _memory(POSITION, dwelt_seconds=3600.0)) == POSITION - 1
        again = _position(load, _memory(POSITION - 1, dwelt_seconds=3600.0)) < POSITION - 1
        if restored and not again:
            return load
    raise AssertionError("no load stands between two positions")


def test_an_escalation_soon_after_a_restore_is_a_regret() -> None:
    """Five minutes after a restore an escalation takes it back; later it answers to something new."""
    hot = 3.0
    for since, regretted in ((REGRET_WINDOW, 1), (REGRET_WINDOW + timedelta(seconds=1), 0)):
        memory = _memory(FIRST_QUOTA, dwelt_seconds=3600.0)
        memory = replace(memory, regions=tuple(replace(r, restored_at=NOW - since) for r in memory.regions))
        made = plan(snapshot(RULES, hot), forecasts(RULES, hot), RULES, memory, NOW)
        entry = made.memory.regions[0]
        assert entry.step_index > FIRST_QUOTA
        assert len(entry.regrets) == regretted
        assert entry.restored_at is None
    untouched = plan(
        snapshot(RULES, hot), forecasts(RULES, hot), RULES, _memory(FIRST_QUOTA, dwelt_seconds=3600.0), NOW
    )
    assert untouched.memory.regions[0].regrets == ()


def test_a_restore_is_remembered_until_the_next_escalation() -> None:
    """The time of a restore is kept while the region stays or goes on restoring."""
    made = plan(snapshot(RULES), forecasts(RULES), RULES, _memory(POSITION, dwelt_seconds=3600.0), NOW)
    assert made.memory.regions[0].restored_at == NOW
    later = NOW + timedelta(seconds=10)
    stayed = plan(snapshot(RULES, now=later), forecasts(RULES, now=later), RULES, made.memory, later)
    assert stayed.memory.regions[0].step_index == made.memory.regions[0].step_index
    assert stayed.memory.regions[0].restored_at == NOW


def test_regrets_are_forgotten_after_half_an_hour() -> None:
    """What was taken back long ago says nothing about the demand of now."""
    for age, kept in ((REGRET_MEMORY - timedelta(seconds=1), 1), (REGRET_MEMORY, 0)):
        memory = _memory(POSITION, dwelt_seconds=3600.0)
        memory = replace(memory, regions=tuple(replace(r, regrets=(NOW - age,)) for r in memory.regions))
        made = plan(snapshot(RULES), forecasts(RULES), RULES, memory, NOW)
        assert len(made.memory.regions[0].regrets) == kept


def test_at_the_edge_each_regret_doubles_the_wait() -> None:
    """Where one position milder just holds, a restore waits a step's dwell, doubled for each regret up to five."""
    load = _edge()
    for regrets in (1, 2, 3, MAX_REGRETS, MAX_REGRETS + 3):
        wait_seconds = STEP_DWELL_SECONDS * 2 ** min(regrets, MAX_REGRETS)
        early = _memory(POSITION, dwelt_seconds=wait_seconds - 1.0, regrets=regrets)
        late = _memory(POSITION, dwelt_seconds=wait_seconds, regrets=regrets)
        assert _position(load, early) == POSITION
        assert _position(load, late) == POSITION - 1
    assert _position(load, _memory(POSITION, dwelt_seconds=STEP_DWELL_SECONDS)) == POSITION - 1


def test_the_wait_is_said_in_words() -> None:
    """Whoever asks why a limit still stands is told how long and why."""
    memory = _memory(POSITION, dwelt_seconds=40.0, regrets=1)
    load = _edge()
    made = plan(snapshot(RULES, load), forecasts(RULES, load), RULES, memory, NOW)
    assert made.regions[0].why.text == "r0: restore held back for 20 s, the last 1 came too early"


def test_where_demand_has_clearly_fallen_no_regret_holds_a_restore_back() -> None:
    """Two positions milder would hold as well: that is no hunting, and users get their images back at once."""
    memory = _memory(POSITION, dwelt_seconds=STEP_DWELL_SECONDS, regrets=MAX_REGRETS)
    assert _position(0.4, memory) == POSITION - 1
