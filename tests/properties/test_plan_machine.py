"""A planner that lives through bad luck: late, lost, absurd and contradictory inputs, people, clocks, clouds."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller.planning import plan
from controller.types import (
    ApprovalGrant,
    FlagAction,
    FlagInForce,
    FleetSnapshot,
    ForecastSet,
    NodeCounts,
    PausedDirection,
    PendingNodes,
    Plan,
    PlanMemory,
    PoolAction,
    PoolCondition,
    Rung,
    Sample,
)
from tests.planning_samples import NOW, forecasts, policy, pool_spec, pool_state, snapshot, thermal

STEP = timedelta(seconds=30)
REGIONS = ("r0", "r1")
NAN = float("nan")


class PlannerMachine(RuleBasedStateMachine):
    """Plays cloud, consumers, people and clock around :func:`plan`."""

    @initialize()
    def begin(self) -> None:
        """Start calm with two regions."""
        self.rules = policy(2, pools=tuple(pool_spec(f"{name}-h", name) for name in REGIONS))
        self.now: datetime = NOW
        self.memory = PlanMemory()
        self.flags: tuple[FlagInForce, ...] = ()
        self.desired = dict.fromkeys(REGIONS, 4)
        self.serving = dict.fromkeys(REGIONS, 4)
        self.load = dict.fromkeys(REGIONS, 0.4)
        self.growth = 1.0
        self.faults: dict[str, str] = {}
        self.stock_out: set[str] = set()
        self.paused: dict[str, PausedDirection] = {}
        self.approvals: tuple[ApprovalGrant, ...] = ()
        self.lose_flags = self.lose_nodes = False
        self.before: PlanMemory = self.memory
        self.seen: FleetSnapshot | None = None
        self.made: Plan | None = None

    @rule(region=st.sampled_from(REGIONS), load=st.floats(0.0, 1.0))
    def load_changes(self, region: str, load: float) -> None:
        """Demand moves."""
        self.load[region] = load

    @rule(growth=st.floats(0.3, 6.0))
    def forecast_changes(self, growth: float) -> None:
        """The forecast sees something else."""
        self.growth = growth

    @rule(region=st.sampled_from(REGIONS), fault=st.sampled_from(["late", "absent", "nan", "contradictory", "future"]))
    def samples_fail(self, region: str, fault: str) -> None:
        """The samples of a region go bad."""
        self.faults[region] = fault

    @rule()
    def samples_recover(self) -> None:
        """All samples are good again."""
        self.faults = {}

    @rule(region=st.sampled_from(REGIONS))
    def cloud_changes_its_mind(self, region: str) -> None:
        """A stock-out begins or ends."""
        self.stock_out ^= {region}

    @rule(region=st.sampled_from(REGIONS), direction=st.sampled_from(PausedDirection))
    def person_pauses(self, region: str, direction: PausedDirection) -> None:
        """A person stops a pool or lets it go."""
        self.paused[region] = direction
        pools = tuple(
            replace(spec, paused=self.paused.get(spec.region, PausedDirection.NONE)) for spec in self.rules.pools
        )
        self.rules = replace(self.rules, pools=pools)

    @rule(region=st.sampled_from(REGIONS), minutes=st.integers(1, 60))
    def person_approves(self, region: str, minutes: int) -> None:
        """A person lets a region go to rung 7 for some time."""
        ends = self.now + timedelta(minutes=minutes)
        grant = ApprovalGrant(region=region, rung=Rung.PAID_IMPACT, approved_by="ada", expires_at=ends)
        self.approvals = (*self.approvals[-3:], grant)

    @rule(seconds=st.integers(-7200, 7200))
    def clock_jumps(self, seconds: int) -> None:
        """The clock is set to another time."""
        self.now += timedelta(seconds=seconds)

    @rule(flags=st.booleans(), nodes=st.booleans())
    def acknowledgements_are_lost(self, flags: bool, nodes: bool) -> None:
        """What the next decision writes does not arrive."""
        self.lose_flags, self.lose_nodes = flags, nodes

    @precondition(lambda self: any(self.serving[name] < self.desired[name] for name in REGIONS))
    @rule()
    def nodes_arrive(self) -> None:
        """Everything that was ordered serves."""
        self.serving = dict(self.desired)

    @rule(passes=st.integers(1, 20))
    def time_passes(self, passes: int) -> None:
        """The planner decides some times in a row."""
        for _ in range(passes):
            self.now += STEP
            self._decide()

    def _snapshot(self) -> FleetSnapshot:
        seen = snapshot(self.rules, now=self.now)
        pools = []
        for spec in self.rules.pools:
            load = self.load[spec.region]
            response = thermal(load, offset_celsius=45.0)
            serving, desired = self.serving[spec.region], self.desired[spec.region]
            counts = NodeCounts(
                desired=desired, created=max(serving, desired), ready=serving, serving=serving, pending=0
            )
            late = max(desired - serving, 0)
            arrival = PendingNodes(
                num_nodes=late,
                ordered_at=self.now,
                expected_p50=self.now + timedelta(minutes=5),
                expected_p95=self.now + timedelta(minutes=10),
            )
            out = frozenset({PoolCondition.STOCK_OUT} if spec.region in self.stock_out else ())
            pool = pool_state(spec.name, spec.region, load, as_of=self.now, response=response, conditions=out)
            nodes = Sample.fresh(counts, self.now)
            pools.append(replace(pool, nodes=nodes, arrivals=(arrival,) if late else ()))
        seen = replace(seen, pools=tuple(pools), flags=self.flags, approvals=self.approvals)
        for region, fault in self.faults.items():
            seen = _spoiled(seen, region, fault, self.now)
        return seen

    def _forecasts(self) -> ForecastSet:
        rows = []
        for name in REGIONS:
            made = forecasts(self.rules, self.load[name], growth=self.growth, now=self.now)
            rows += [forecast for forecast in made.demand if forecast.key.region == name]
        return ForecastSet(demand=tuple(rows))

    def _decide(self) -> None:
        self.flags = tuple(flag for flag in self.flags if flag.expires_at > self.now)
        self.before, self.seen = self.memory, self._snapshot()
        self.made = plan(self.seen, self._forecasts(), self.rules, self.memory, self.now)
        self._check_decision(self.made)
        self.memory = self.made.memory
        if not self.lose_nodes:
            for action in self.made.actions:
                if isinstance(action, PoolAction):
                    region = action.pool.removesuffix("-h")
                    self.desired[region] = action.to_nodes
                    self.serving[region] = min(self.serving[region], action.to_nodes)
        if self.made.flags is not None and not self.lose_flags:
            assert all(flag.revision > old.revision for flag in self.made.flags for old in self.flags)
            self.flags = self.made.flags

    def _check_decision(self, made: Plan) -> None:
        for verdict in made.regions:
            before = self.before.region(verdict.region).step_index
            granted = any(g.region == verdict.region and g.expires_at > self.now for g in self.approvals)
            faulty = verdict.region in self.faults
            ended = self.rules.ladder.steps[before].rung is Rung.PAID_IMPACT and not granted
            if verdict.step_index < before and not ended:
                assert not faulty, "nothing is lifted on inputs that are not fresh"
                assert before - verdict.step_index == 1 or verdict.step_index == 0
            assert granted or verdict.rung < Rung.PAID_IMPACT, "paid requests need a person"
            assert verdict.predicted_min_margin_celsius == verdict.predicted_min_margin_celsius
        for action in made.actions:
            assert action.why.text
            if isinstance(action, FlagAction):
                assert action.inverse != action.to_value
                continue
            region, change = action.pool.removesuffix("-h"), action.to_nodes - action.from_nodes
            paused = self.paused.get(region, PausedDirection.NONE)
            assert paused is not PausedDirection.ALL
            assert paused is not (PausedDirection.SCALE_OUT if change > 0 else PausedDirection.SCALE_IN)
            assert change > 0 or region not in self.faults, "no node is taken away on inputs that are not fresh"
            assert change < 0 or region not in self.stock_out

    @invariant()
    def memory_stays_small_and_sane(self) -> None:
        """The memory holds no time of the future, no position off the ladder and no endless list."""
        memory = self.memory
        steps = len(self.rules.ladder.steps)
        for entry in memory.regions:
            assert 0 <= entry.step_index < steps
            assert len(entry.relaxations) <= self.rules.limits.flap_budget_per_hour + 2
        assert len(memory.regions) <= len(REGIONS)
        assert sum(count for _, count in memory.added_nodes) <= self.rules.limits.max_nodes_per_hour

    @invariant()
    def every_limit_in_force_ends(self) -> None:
        """No flag that consumers hold lives longer than its time to live."""
        if self.made is not None:
            end = self.made.issued_at + timedelta(seconds=self.rules.flag_ttl_seconds)
            assert all(flag.expires_at <= end for flag in self.made.flags or ())

    def teardown(self) -> None:
        """When all faults clear, the fleet comes to rest in bounded time."""
        if self.made is None:
            return
        self.faults, self.stock_out, self.approvals = {}, set(), ()
        self.lose_flags = self.lose_nodes = False
        self.load, self.growth = dict.fromkeys(REGIONS, 0.3), 1.0
        for _ in range(4 * 60):
            self.now += timedelta(minutes=1)
            self.serving = dict(self.desired)
            self._decide()
        assert self.made is not None
        assert all(verdict.step_index == 0 for verdict in self.made.regions)
        assert not any(isinstance(action, FlagAction) for action in self.made.actions)


def _spoiled(seen: FleetSnapshot, region: str, fault: str, now: datetime) -> FleetSnapshot:
    """Return the snapshot with one region's samples gone bad."""
    pools = []
    for pool in seen.pools:
        if pool.region != region:
            pools.append(pool)
        elif fault == "absent":
            pools.append(replace(pool, nodes=Sample.absent(), margin=Sample.absent(), thermal=Sample.absent()))
        elif fault == "nan" and pool.thermal.value is not None:
            wrong = replace(pool.thermal.value, offset_celsius=NAN)
            pools.append(replace(pool, thermal=Sample.fresh(wrong, now)))
        elif fault == "contradictory" and pool.nodes.value is not None:
            wrong_counts = replace(pool.nodes.value, serving=pool.nodes.value.created + 1)
            pools.append(replace(pool, nodes=Sample.fresh(wrong_counts, now)))
        else:
            shift = timedelta(hours=-1 if fault == "late" else 1)
            assert pool.margin.value is not None
            pools.append(replace(pool, margin=Sample.fresh(pool.margin.value, now + shift)))
    return replace(seen, pools=tuple(pools))


TestPlannerMachine = PlannerMachine.TestCase
# A run costs about half a second, most of it the way back to rest; the planner's own nightly profile runs all of them.
EXAMPLES = settings.default.max_examples
TestPlannerMachine.settings = settings(
    max_examples=EXAMPLES if EXAMPLES >= 10_000 else max(8, EXAMPLES // 4), stateful_step_count=12, deadline=None
)
