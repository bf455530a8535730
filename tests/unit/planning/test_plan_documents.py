"""Plans, states and audit logs: written, read, and what happens to those that cannot be read."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.planning import plan
from controller.planning.audit import AuditTrail, DecisionRecord, read_audit
from controller.planning.documents import (
    UnreadableDocumentError,
    UnreadableStateError,
    decode_plan,
    decode_state,
    encode_plan,
    encode_state,
    restore_state,
)
from controller.types import ApprovalGrant, PlanMemory, PoolCondition, Rung, Sample
from tests.planning_samples import NOW, decide, forecasts, limited, policy, snapshot, with_pool

RULES = policy()
SITUATIONS = {
    "at rest": (snapshot(RULES), forecasts(RULES), PlanMemory()),
    "growing": (snapshot(RULES, 0.6), forecasts(RULES, 0.6, growth=4.0), PlanMemory()),
    "limited": (snapshot(RULES, 0.99), forecasts(RULES, 1.5), PlanMemory()),
    "restoring": (snapshot(RULES), forecasts(RULES), limited(RULES, 8)),
    "blind": (replace(snapshot(RULES), regions=(), pools=()), forecasts(RULES), limited(RULES, 6)),
    "without a model": (with_pool(snapshot(RULES), 0, thermal=Sample.absent()), forecasts(RULES), PlanMemory()),
    "out of stock": (
        with_pool(snapshot(RULES, 0.9), 0, conditions=frozenset(PoolCondition)),
        forecasts(RULES, 1.2),
        PlanMemory(),
    ),
    "approved": (
        replace(
            snapshot(RULES, 1.0),
            approvals=(
                ApprovalGrant(
                    region="r0", rung=Rung.PAID_IMPACT, approved_by="ada", expires_at=NOW + timedelta(hours=1)
                ),
            ),
        ),
        forecasts(RULES, 3.0),
        PlanMemory(),
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_plan_survives_a_round_trip(name: str) -> None:
    """A plan read back is equal to the plan that was written."""
    seen, ahead, memory = SITUATIONS[name]
    made = decide(RULES, seen, ahead, memory)
    assert decode_plan(encode_plan(made)) == made


@pytest.mark.parametrize("name", SITUATIONS)
def test_state_survives_a_round_trip(name: str) -> None:
    """A memory read back is equal to the memory that was written."""
    seen, ahead, memory = SITUATIONS[name]
    left = decide(RULES, seen, ahead, memory).memory
    assert decode_state(encode_state(left)) == left
    assert restore_state(encode_state(left)).memory == left


def test_state_of_an_older_version_is_read() -> None:
    """A state from before restores were remembered keeps its position and its limits; nothing was regretted."""
    seen, ahead, _ = SITUATIONS["restoring"]
    memory = decide(RULES, seen, ahead, limited(RULES, 8)).memory
    regretted = replace(memory, regions=tuple(replace(one, restored_at=NOW, regrets=(NOW,)) for one in memory.regions))
    document = json.loads(encode_state(regretted))
    for entry in document["memory"]["regions"]:
        del entry["restored_at"], entry["regrets"]

    read = decode_state(json.dumps(document).encode())

    assert read == replace(memory, regions=tuple(replace(one, restored_at=None, regrets=()) for one in memory.regions))


UNREADABLE = [
    b"",
    b"null",
    b"{",
    b"[]",
    b"\xff\xfe",
    b'{"schema":"meltguard.state/v1"}',
    encode_state(PlanMemory()).replace(b"/v1", b"/v9"),
    encode_state(PlanMemory()).replace(b'"num_decisions":0', b'"num_decisions":"many"'),
    encode_state(limited(RULES, 6)).replace(b'Z"', b'"'),
    b"[" * 100_000,
    b" " * 2_000_000,
]


@pytest.mark.parametrize("data", UNREADABLE, ids=lambda data: repr(data[:24]))
def test_unreadable_state_is_reported_and_replaced(data: bytes) -> None:
    """A state that cannot be read is an error that says why, and the start goes on without it."""
    with pytest.raises(UnreadableStateError):
        decode_state(data)
    restored = restore_state(data)
    assert restored.memory == PlanMemory()
    assert restored.problem and "\n" not in restored.problem


@given(st.binary(max_size=300))
def test_any_bytes_restore_to_some_memory(data: bytes) -> None:
    """No bytes whatever keep the controller from starting."""
    assert isinstance(restore_state(data).memory, PlanMemory)


def test_missing_state_is_no_problem() -> None:
    """A first start has no state and nothing to report."""
    assert restore_state(None).problem == ""


def test_start_without_a_state_lifts_nothing_that_is_in_force() -> None:
    """After an unreadable state the limits that consumers hold stay, at first."""
    calm, ahead = snapshot(RULES), forecasts(RULES)
    held = decide(RULES, calm, ahead, limited(RULES, 6)).flags or ()
    made = plan(replace(calm, flags=held), ahead, RULES, restore_state(b"junk").memory, NOW)
    assert {(f.key, f.region, f.tier, f.value) for f in held} == {
        (f.key, f.region, f.tier, f.value) for f in made.flags or held
    }
    assert all(verdict.step_index == 5 for verdict in made.regions)


def _records() -> list[DecisionRecord]:
    records = []
    for seen, ahead, memory in SITUATIONS.values():
        made = decide(RULES, seen, ahead, memory)
        records.append(DecisionRecord(now=NOW, snapshot=seen, forecasts=ahead, policy=RULES, memory=memory, plan=made))
    return records


def test_audit_log_replays_to_the_byte() -> None:
    """Every decision of a log, read back and decided again, gives the same bytes."""
    trail = AuditTrail()
    lines = [line for record in _records() for line in trail.lines(record)]
    read = list(read_audit(lines))
    assert len(read) == len(SITUATIONS)
    assert all(record.is_identical() for record in read)
    assert [record.plan for record in read] == [record.plan for record in _records()]


def test_audit_log_shows_a_decision_that_was_tampered_with() -> None:
    """A plan that does not follow from its inputs is found."""
    record = _records()[2]
    forged = replace(record, plan=replace(record.plan, actions=()))
    (read,) = read_audit(AuditTrail().lines(forged))
    assert not read.is_identical()


def test_audit_log_writes_a_policy_once() -> None:
    """Equal policies and forecasts in a row are written once; a new file repeats them."""
    record = _records()[0]
    trail = AuditTrail()
    assert [len(trail.lines(record)) for _ in range(3)] == [3, 1, 1]
    assert len(AuditTrail().lines(record)) == 3


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b'{"kind":"decision"}', b'{"kind":"other"}', b"\xff"])
def test_unreadable_audit_line_is_named(line: bytes) -> None:
    """A line that is none of ours is an error with its number."""
    good = AuditTrail().lines(_records()[0])
    with pytest.raises(UnreadableDocumentError, match="audit line 4"):
        list(read_audit((*good, line)))


def test_audit_log_without_its_beginning_says_so() -> None:
    """A decision whose policy was cut away is refused with the cure."""
    *_, decision = AuditTrail().lines(_records()[0])
    with pytest.raises(UnreadableDocumentError, match="keep whole files"):
        list(read_audit([decision]))
