"""The written forms of decisions, byte for byte. `MELTGUARD_UPDATE_GOLDEN=1` writes the files anew."""

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.planning.audit import AuditTrail, DecisionRecord
from controller.planning.documents import encode_plan, encode_state
from controller.types import Plan, PlanMemory
from tests.planning_samples import NOW, decide, forecasts, policy, snapshot

HERE = Path(__file__).parent
RULES = policy(1)


def _hot_plan() -> Plan:
    """A decision that orders nodes, sets limits and has alternatives."""
    return decide(RULES, snapshot(RULES, 0.95), forecasts(RULES, 0.95, growth=2.5))


def _memory() -> PlanMemory:
    """A memory with every field used."""
    memory = _hot_plan().memory
    at = NOW - timedelta(minutes=3)
    regions = tuple(replace(entry, relaxations=(at,), escalations=(at, NOW)) for entry in memory.regions)
    pools = tuple(replace(entry, last_scale_in=at, surplus_since=at) for entry in memory.pools)
    return replace(memory, regions=regions, pools=pools)


def _shape(node: object) -> object:
    """Return the keys and kinds of a document, without its numbers."""
    if isinstance(node, dict):
        return {key: _shape(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_shape(node[0])] if node else []
    return type(node).__name__


def _decision_lines() -> bytes:
    """The lines of one decision, reduced to their shape: numbers of the forecasts would make a wall of digits."""
    made = _hot_plan()
    record = DecisionRecord(
        now=NOW,
        snapshot=snapshot(RULES, 0.95),
        forecasts=forecasts(RULES, 0.95, growth=2.5),
        policy=RULES,
        memory=PlanMemory(),
        plan=made,
    )
    shapes = [json.dumps(_shape(json.loads(line)), sort_keys=True) for line in AuditTrail().lines(record)]
    return ("\n".join(shapes) + "\n").encode()


DOCUMENTS = {
    "plan.json": lambda: encode_plan(_hot_plan()) + b"\n",
    "state.json": lambda: encode_state(_memory()) + b"\n",
    "decision_shape.jsonl": _decision_lines,
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_is_written_as_it_always_was(name: str) -> None:
    """Scripts read these documents: a change here is a change of the contract."""
    path, found = HERE / name, DOCUMENTS[name]()
    if os.environ.get("MELTGUARD_UPDATE_GOLDEN") == "1":
        path.write_bytes(found)
    assert found == path.read_bytes()
