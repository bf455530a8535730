"""Runs a policy against a world in virtual time, with the real forecasters and thermal model between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from controller.planning.prices import UNSERVED_FACTOR
from controller.simulator.clairvoyant import OracleController
from controller.simulator.controllers import Controller
from controller.simulator.demand_feed import DemandFeed, live_through_past
from controller.simulator.observer import Observer
from controller.simulator.policies import CONTROLLERS
from controller.simulator.policy_from_scenario import policy_of
from controller.simulator.record import REPLAY_SCHEMA, DecisionMark, RunRecord, RunSet
from controller.simulator.recorder import Recorder
from controller.simulator.scenario import Scenario
from controller.simulator.world import World
from controller.types import ForecastSet

FAN_PERIOD_SECONDS = 1800.0
"""Distance between two forecasts that the report shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands, for those who watch.

    Attributes:
        policy: Name of the policy.
        progress_ratio: Share of the run that is done, 0..1.
        world: The world, to look at only.
        rungs: Each region's rung.
        marks: Decisions since the last call.
    """

    policy: str
    progress_ratio: float
    world: World
    rungs: dict[str, int]
    marks: tuple[DecisionMark, ...]


Watcher = Callable[[Progress], None]


def run_policy(scenario: Scenario, *, policy: str, seed: int, watch: Watcher | None = None) -> RunRecord:
    """Run one policy on one seed.

    Args:
        scenario: The scenario.
        policy: A key of :data:`~controller.simulator.policies.CONTROLLERS`.
        seed: Seed of the world; equal seeds give equal users and hardware to every policy.
        watch: Called about once a virtual minute.

    Returns:
        What happened.

    Raises:
        KeyError: If there is no such policy.
        InconsistentWorldError: If the simulator broke one of its own rules.
    """
    rules = policy_of(scenario)
    controller: Controller = CONTROLLERS[policy](rules, scenario)
    world = World(scenario, seed=seed)
    past = live_through_past(scenario, world.users)
    if isinstance(controller, OracleController):
        controller.attach(world, seed=seed)
    feed = DemandFeed(scenario, past, horizon_seconds=rules.horizon_seconds) if controller.uses_models else None
    observer = Observer(world, with_models=controller.uses_models)
    recorder = Recorder(world, policy=policy, seed=seed)
    steps_per_plan = max(1, round(scenario.plan_period_seconds / scenario.step_seconds))
    steps_per_fan = max(1, round(FAN_PERIOD_SECONDS / scenario.step_seconds))
    rungs: dict[str, int] = {}
    unseen: list[DecisionMark] = []
    for index in range(-round(scenario.lead_in_seconds / scenario.step_seconds), scenario.num_steps):
        step = world.step()
        observer.record(step)
        if feed is not None:
            feed.record(step)
        if index < 0:
            continue
        if (index + 1) % steps_per_plan == 0:
            forecasts = feed.forecasts if feed is not None else ForecastSet(demand=())
            unseen += _act(controller, world, observer, forecasts, recorder, rungs)
        if feed is not None and (index + 1) % steps_per_fan == 0:
            recorder.record_fan(feed.signup_fan())
        if recorder.record_step(step) and watch is not None:
            watch(
                Progress(
                    policy=policy,
                    progress_ratio=(index + 1) / scenario.num_steps,
                    world=world,
                    rungs=dict(rungs),
                    marks=tuple(unseen),
                )
            )
            unseen = []
    return recorder.finish()


def _act(
    controller: Controller,
    world: World,
    observer: Observer,
    forecasts: ForecastSet,
    recorder: Recorder,
    rungs: dict[str, int],
) -> tuple[DecisionMark, ...]:
    """Observe, decide, apply and record; return the decision in words."""
    decision = controller.decide(observer.snapshot(), forecasts, world.now)
    for pool, num_nodes in decision.pool_nodes.items():
        world.apply_nodes(pool, num_nodes)
    if decision.flags is not None:
        write = decision.flags
        world.write_flags(write.flags, revision=write.revision, ttl_seconds=write.ttl_seconds)
    recorder.record_decision(decision.marks, decision.rungs)
    rungs.update({region: int(rung) for region, rung in decision.rungs.items()})
    return decision.marks


def run_set(
    scenario: Scenario, *, policies: tuple[str, ...], seeds: tuple[int, ...], watch: Watcher | None = None
) -> RunSet:
    """Run every policy on every seed and compare them.

    The lead of the first action is counted against the run of ``none`` with the same seed; without one it is None.

    Args:
        scenario: The scenario.
        policies: Names of the policies.
        seeds: Seeds of the world.
        watch: Called about once a virtual minute of each run.

    Returns:
        All runs.
    """
    runs = [run_policy(scenario, policy=policy, seed=seed, watch=watch) for seed in seeds for policy in policies]
    bounds = {run.seed: run_harm(run, scenario) for run in runs if run.policy == "oracle"}
    crossings = {run.seed: _first_crossing_seconds(run, scenario) for run in runs if run.policy == "none"}
    return RunSet(
        schema=REPLAY_SCHEMA,
        scenario=scenario.name,
        title=scenario.title,
        slowdown_celsius=scenario.gpu.slowdown_celsius,
        currency=scenario.currency,
        runs=tuple(
            _with_regret(_with_lead(run, crossings.get(run.seed)), scenario, bounds.get(run.seed)) for run in runs
        ),
    )


def run_harm(run: RunRecord, scenario: Scenario) -> float:
    """Return harm to users and cost of a run, in the scenario's currency.

    A refused request counts as the tier says, one that was lost after waiting half as much again, as in the planner.

    Args:
        run: The run.
        scenario: Prices of the tiers.

    Returns:
        Harm and cost.
    """
    harm = run.figures.cost
    for tier in scenario.tiers:
        requests = run.figures.tiers[tier.name].requests
        lost = requests.limited + UNSERVED_FACTOR * (requests.dropped + requests.abandoned)
        harm += lost * tier.harm_per_limited_request
    return harm


def _with_regret(run: RunRecord, scenario: Scenario, bound: float | None) -> RunRecord:
    """Return the run with its harm above the oracle's; unchanged without an oracle."""
    if bound is None:
        return run
    figures = msgspec.structs.replace(run.figures, regret=round(run_harm(run, scenario) - bound, 6))
    return msgspec.structs.replace(run, figures=figures)


def _first_crossing_seconds(run: RunRecord, scenario: Scenario) -> float | None:
    """Return when the hottest GPU of a run first reached slowdown."""
    limit = scenario.gpu.slowdown_celsius
    return next((at for at, hottest in zip(run.seconds, run.hottest_celsius, strict=True) if hottest >= limit), None)


def _with_lead(run: RunRecord, crossing_seconds: float | None) -> RunRecord:
    """Return the run with the lead of its first protective action, a node or a limit, over the unmitigated crossing."""
    acted = [mark for mark in run.decisions if mark.kind == "limit" or mark.nodes_added > 0]
    if not acted or crossing_seconds is None:
        return run
    first_seconds = (acted[0].at - run.start).total_seconds()
    figures = msgspec.structs.replace(run.figures, first_action_lead_seconds=crossing_seconds - first_seconds)
    return msgspec.structs.replace(run, figures=figures)
