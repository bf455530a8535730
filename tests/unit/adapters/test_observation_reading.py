"""What answers mean: ages, gaps, doubles and contradictions; and what a pool and a tier are made of."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.adapters.observation.pools import PoolEvidence, count_nodes, nodes_by_pool, pool_state
from controller.adapters.observation.reading import Table, tabulate
from controller.adapters.observation.regions import region_states
from controller.adapters.observation.signals import Signal
from controller.adapters.ports import NodeFacts, PoolSize
from controller.adapters.prometheus import Answer, PrometheusClient, Reading, parse_vector
from controller.adapters.targets import EksTarget, ObjectReference, PoolTarget
from controller.types import Freshness, Ownership, Sample
from forecasting.errors import ForecastingError
from tests.planning_samples import NOW, policy

AT = NOW.timestamp()
POLICY = policy(1)
TARGET = PoolTarget(
    pool="r0-h",
    region="r0",
    target=EksTarget(cluster="c", nodegroup="g"),
    ownership=Ownership.DESIRED,
    min_nodes=1,
    max_nodes=8,
    gpus_per_node=8,
)
MARGINS = {
    Signal.MARGIN_MINIMUM: 4.0,
    Signal.MARGIN_LOW: 6.0,
    Signal.MARGIN_MEDIAN: 9.0,
    Signal.MARGIN_NODES_LOW: 2.0,
    Signal.MARGIN_GPUS: 16.0,
    Signal.MARGIN_AT: AT - 5.0,
    Signal.POWER_MEAN: 500.0,
}
MODEL = {
    Signal.PLATEAU: 80.0,
    Signal.RESISTANCE: 0.06,
    Signal.LIMIT: 87.0,
    Signal.POWER_SLOW: 500.0,
    Signal.TREND: 0.001,
    Signal.MODEL_AT: AT - 5.0,
}


def table_of(values: dict[Signal, float], **changes: object) -> Table:
    """Return a table with the values of one pool."""
    table = Table(values={signal: {("r0-h",): value} for signal, value in values.items()})
    return replace(table, **changes)  # type: ignore[arg-type]


def node(name: str, **changes: object) -> NodeFacts:
    """Return a good node of the pool."""
    base = NodeFacts(
        name=name,
        labels={"eks.amazonaws.com/nodegroup": "g"},
        created_at=NOW,
        is_ready=True,
        is_schedulable=True,
        num_gpus=8,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def evidence_of(
    values: dict[Signal, float], nodes: tuple[NodeFacts, ...] = (node("a"), node("b")), *, desired: int = 3
) -> PoolEvidence:
    """Return what is known of the pool."""
    size = PoolSize(desired=desired, written=desired, created=None, ready=None)
    return PoolEvidence(
        target=TARGET, size=Sample.fresh(size, NOW), nodes=Sample.fresh(nodes, NOW), table=table_of(values)
    )


def state_of(evidence: PoolEvidence):
    """Return the pool's state."""
    counts = count_nodes(evidence, NOW, stale_after_seconds=60.0)
    return pool_state(evidence, counts, POLICY.capacity, NOW, stale_after_seconds=60.0)


def answer(*rows: tuple[dict[str, str], float]) -> Answer:
    """Return an answer with some series."""
    return Answer(readings=tuple(Reading(labels=labels, value=value) for labels, value in rows))


def test_series_that_agree_are_one_and_those_that_differ_are_a_contradiction() -> None:
    """Two scrapers of one fleet may differ by rounding; two values that differ are no value to act on."""
    agreeing = tabulate({Signal.MARGIN_LOW: answer(({"pool": "p", "x": "1"}, 6.0), ({"pool": "p", "x": "2"}, 6.3))})
    differing = tabulate({Signal.MARGIN_LOW: answer(({"pool": "p", "x": "1"}, 6.0), ({"pool": "p", "x": "2"}, 60.0))})

    assert agreeing.get(Signal.MARGIN_LOW, "p") == 6.0
    assert not agreeing.contradictions
    assert differing.contradicts(("p",), Signal.MARGIN_LOW)
    assert "several values for p" in differing.problems[0]


def test_a_series_without_the_label_is_named() -> None:
    """A series that relabelling has missed belongs to no pool, and the problem says which label to add."""
    table = tabulate({Signal.MARGIN_LOW: answer(({}, 6.0))})
    assert table.get(Signal.MARGIN_LOW, "") is None
    assert "label pool" in table.problems[0]


def test_not_a_number_is_absent() -> None:
    """NaN is no reading; infinity is one."""
    rows = [{"metric": {"pool": "a"}, "value": [AT, "NaN"]}, {"metric": {"pool": "b"}, "value": [AT, "+Inf"]}]
    body = {"status": "success", "data": {"resultType": "vector", "result": rows}}
    table = tabulate({Signal.SLOWDOWN: parse_vector(json.dumps(body).encode())})

    assert table.get(Signal.SLOWDOWN, "a") is None
    assert table.get(Signal.SLOWDOWN, "b") == float("inf")
    assert "not a number" in table.problems[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"status":"success"}',
        b'{"status":"success","data":{"resultType":"matrix","result":[]}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}',
        b'{"status":"error","error":"parse error"}',
    ],
)
def test_what_is_no_answer_is_a_problem_and_no_zero(body: bytes) -> None:
    """Anything but a vector of Prometheus' is a problem in words, never an empty fleet."""
    found = parse_vector(body)
    assert found.problem is not None
    assert found.readings == ()


def test_a_prometheus_that_does_not_answer_was_not_reached() -> None:
    """A request that failed tells that asking on is of no use."""

    def fail(address: str, limits: object) -> bytes:
        del address, limits
        raise ForecastingError("no route")

    found = PrometheusClient("http://x", fetch=fail).instant("up", NOW)
    assert (found.reached, found.problem) == (False, "no route")


def test_a_pool_is_put_together() -> None:
    """Counts, margins and the thermal response of a pool that is wholly known."""
    state = state_of(evidence_of({**MARGINS, **MODEL}))

    assert state.nodes.value.desired == 3
    assert (state.nodes.value.ready, state.nodes.value.serving, state.nodes.value.pending) == (2, 2, 1)
    assert state.margin.is_fresh
    assert (state.margin.value.low_celsius, state.margin.value.num_nodes_low) == (6.0, 2)
    assert state.margin.age_seconds(NOW) == pytest.approx(5.0)
    thermal = state.thermal.value
    plateau = thermal.offset_celsius + sum(thermal.gains_celsius_per_watt) * thermal.busy_power_watts
    assert plateau == pytest.approx(80.0)
    assert sum(thermal.gains_celsius_per_watt) == pytest.approx(0.06)


@pytest.mark.parametrize("missing", [Signal.MARGIN_LOW, Signal.MARGIN_AT])
def test_a_margin_without_a_part_or_a_time_is_absent(missing: Signal) -> None:
    """A margin that lacks one of its quantiles, or that cannot be aged, is absent."""
    values = {signal: value for signal, value in MARGINS.items() if signal is not missing}
    assert state_of(evidence_of(values)).margin.freshness is Freshness.ABSENT


def test_an_old_margin_is_stale_and_one_from_the_future_a_contradiction() -> None:
    """Age is judged by the time of the scrape, not by that of the query; a clock far ahead is not believed."""
    old = state_of(evidence_of({**MARGINS, Signal.MARGIN_AT: AT - 61.0}))
    ahead = state_of(evidence_of({**MARGINS, Signal.MARGIN_AT: AT + 60.0}))

    assert old.margin.freshness is Freshness.STALE
    assert ahead.margin.freshness is Freshness.CONTRADICTORY


@pytest.mark.parametrize("num_gpus", [7.0, 25.0])
def test_metrics_of_too_few_or_too_many_gpus_are_contradictory(num_gpus: float) -> None:
    """Metrics that see less than half of the ready GPUs, or more than all nodes hold, are not to be trusted."""
    state = state_of(evidence_of({**MARGINS, Signal.MARGIN_GPUS: num_gpus}))
    assert state.margin.freshness is Freshness.CONTRADICTORY


def test_a_node_without_its_gpus_is_not_ready() -> None:
    """A node counts when it is ready, schedulable and shows all its GPUs; else it is still on its way."""
    nodes = (
        node("good"),
        node("booting", num_gpus=0),
        node("partial", num_gpus=7),
        node("cordoned", is_schedulable=False),
        node("down", is_ready=False),
    )
    counts = count_nodes(evidence_of({}, nodes, desired=5), NOW, stale_after_seconds=60.0).value
    assert (counts.created, counts.ready, counts.pending) == (5, 1, 4)


def test_serving_nodes_come_from_the_servers_where_they_say() -> None:
    """A ready node whose inference pod is not ready does not serve; nobody serves on a node that is not ready."""
    few = count_nodes(evidence_of({Signal.SERVING_NODES: 1.0}), NOW, stale_after_seconds=60.0).value
    many = count_nodes(evidence_of({Signal.SERVING_NODES: 9.0}), NOW, stale_after_seconds=60.0).value
    assert (few.serving, few.pending, many.serving) == (1, 2, 2)


def test_without_its_api_or_the_nodes_a_pool_is_not_counted() -> None:
    """Counts are absent when either side is, and stale when either side is."""
    evidence = evidence_of(MARGINS)
    stale = Sample(value=evidence.nodes.value, as_of=NOW - timedelta(seconds=5), freshness=Freshness.STALE)

    for unknown in (replace(evidence, size=Sample.absent()), replace(evidence, nodes=Sample.absent())):
        assert count_nodes(unknown, NOW, stale_after_seconds=60.0).freshness is Freshness.ABSENT
    counted = count_nodes(replace(evidence, nodes=stale), NOW, stale_after_seconds=60.0)
    assert counted.freshness is Freshness.STALE


def test_nodes_find_their_pools_by_label() -> None:
    """Each pool's nodes are those that carry its own labels, or the ones that its provider sets."""
    karpenter = replace(
        TARGET, pool="k", target=ObjectReference(api_version="karpenter.sh/v1", kind="NodePool", name="np")
    )
    both = replace(TARGET, pool="both", node_labels={"a": "1", "b": "2"})
    nodes = (
        node("eks"),
        node("karpenter", labels={"karpenter.sh/nodepool": "np"}),
        node("half", labels={"a": "1"}),
        node("whole", labels={"a": "1", "b": "2"}),
    )
    found = nodes_by_pool((TARGET, karpenter, both), nodes)
    assert {pool: [one.name for one in rows] for pool, rows in found.items()} == {
        "r0-h": ["eks"],
        "k": ["karpenter"],
        "both": ["whole"],
    }


def tier_table(rows: dict[tuple[str, str], float]) -> Table:
    """Return a table with first-attempt rates of region r0."""
    keys = {("r0", tier): value for (_, tier), value in rows.items()}
    return Table(
        values={
            Signal.FIRST_RATE: keys,
            Signal.FIRST_AT: dict.fromkeys(keys, AT - 3.0),
            Signal.QUEUE: {("r0", ""): 12.0},
            Signal.QUEUE_AT: {("r0",): AT - 3.0},
            Signal.WAIT: {("r0",): 4.0},
        }
    )


def test_a_silent_tier_is_zero_only_when_it_cannot_have_been_misnamed() -> None:
    """Beside known tiers a missing one had no request; beside an unknown one, or alone, it is absent."""
    known = region_states(tier_table({("r0", "free"): 2.0, ("r0", "paid"): 1.0}), POLICY, NOW)[0]
    misnamed = region_states(tier_table({("r0", "free"): 2.0, ("r0", "premium"): 1.0}), POLICY, NOW)[0]
    nothing = region_states(Table(), POLICY, NOW)[0]

    rates = {tier.tier: tier.first_attempt_rate for tier in known.tiers}
    assert (rates["free"].value, rates["batch"].value, rates["batch"].is_fresh) == (2.0, 0.0, True)
    assert misnamed.tiers[1].first_attempt_rate.freshness is Freshness.ABSENT
    assert all(tier.first_attempt_rate.freshness is Freshness.ABSENT for tier in nothing.tiers)


def test_a_queue_that_is_one_for_all_tiers_is_shared_out() -> None:
    """A queue without a tier belongs to the tiers by their rates of requests."""
    tiers = region_states(tier_table({("r0", "free"): 2.0, ("r0", "paid"): 1.0}), POLICY, NOW)[0].tiers
    assert [tier.queue_requests.value for tier in tiers] == [8.0, 4.0, 0.0]
    assert [tier.wait_seconds.value for tier in tiers] == [4.0, 4.0, 4.0]
