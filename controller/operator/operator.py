"""The operator: its threads, its loop, and what it says of itself.

Threads: the lease (renewal and watchdog), one list-watch each for policies, pools and nodes, the publisher, the web
server, and the loop, which alone decides and acts. Called by ``meltguard operator``; :mod:`.assembly` puts it together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from controller.adapters.ports import NodeFacts
from controller.errors import ControllerError
from controller.operator.conditions import Problem
from controller.operator.departure import DepartureStep, depart, ensure_finalizer
from controller.operator.entries import Assignment, PolicyEntry, PoolEntry, assign
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.lease import LeaseElector, NotLeadingError
from controller.operator.kubernetes.list_watch import ListWatch
from controller.operator.policy_inputs import PortsFactory
from controller.operator.policy_pass import PassResult, RunnerTools
from controller.operator.policy_runner import PolicyRunner
from controller.operator.publisher import Publisher
from controller.operator.recorder import Recorder, RecorderTools, record_broken_pools
from controller.operator.settings import OperatorSettings
from controller.operator.state import StateStore
from controller.operator.status_view import STATUS_SCHEMA, PolicyView, StatusView
from controller.operator.workload import Followed, ReplicaFollower, Wish
from controller.telemetry.metrics import ControllerMetrics

ADVISORY_EPOCH = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorParts:
    """What an operator is made of.

    Attributes:
        settings: How it runs.
        client: The API.
        elector: Who may act; None in advisory mode, where nobody acts.
        policies: Local copy of the SurgePolicies.
        pools: Local copy of the GPUPools.
        nodes: Local copy of the Nodes.
        publisher: Writes what people read.
        metrics: Its metrics.
        make_ports: Makes the world of a policy.
        audit: Takes audit lines.
        wake: Set when a policy or pool has changed.
        on_turn: Told the policies at every turn of the loop, leading or not.
        stream_problems: What is wrong with the streams of flags, one sentence each.
        clock: The present time, aware UTC.
    """

    settings: OperatorSettings
    client: KubernetesClient
    elector: LeaseElector | None
    policies: ListWatch[PolicyEntry]
    pools: ListWatch[PoolEntry]
    nodes: ListWatch[NodeFacts]
    publisher: Publisher
    metrics: ControllerMetrics
    make_ports: PortsFactory
    audit: Callable[[tuple[bytes, ...]], None]
    wake: threading.Event
    on_turn: Callable[[tuple[PolicyEntry, ...]], None] = lambda policies: None
    stream_problems: Callable[[], tuple[str, ...]] = tuple
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


class Operator:
    """Decides and acts while it leads.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: OperatorParts) -> None:
        """Start nothing yet."""
        self._parts = parts
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._appliers = ThreadPoolExecutor(parts.settings.num_appliers, thread_name_prefix="apply")
        self._follower = ReplicaFollower(parts.client)
        self._runners: dict[str, PolicyRunner] = {}
        self._recorders: dict[str, Recorder] = {}
        self._views: dict[str, PolicyView] = {}
        self._epoch: int | None = None
        self._turned_at = time.monotonic()
        self._num_refused = 0
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._log = structlog.get_logger()
        settings = parts.settings
        self._tools = RunnerTools(
            settings=settings,
            metrics=parts.metrics,
            fence=self.fence,
            outrank=self._outrank,
            appliers=self._appliers,
            make_ports=parts.make_ports,
            audit=parts.audit,
        )
        self._recorder_tools = RecorderTools(
            client=parts.client,
            publisher=parts.publisher,
            metrics=parts.metrics,
            identity=settings.identity,
            namespace=settings.namespace,
            writes=not settings.advisory,
        )

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every thread."""
        parts = self._parts
        tasks: dict[str, Callable[[threading.Event], None]] = {
            "policies": parts.policies.run,
            "pools": parts.pools.run,
            "nodes": parts.nodes.run,
            "loop": self._run,
        }
        if parts.elector is not None:
            tasks["lease-watchdog"] = parts.elector.watch_deadline
            tasks["publisher"] = parts.publisher.run
        for name, task in tasks.items():
            thread = threading.Thread(target=task, args=(self._stop,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        if parts.elector is not None:
            self._elector_stop = threading.Event()
            self._elector_thread = threading.Thread(
                target=parts.elector.run, args=(self._elector_stop,), name="lease", daemon=True
            )
            self._elector_thread.start()
            self._threads.append(self._elector_thread)

    def stop(self) -> None:
        """End in order: the pass under way first, then the lease, so that nobody leads while we still write."""
        self._stop.set()
        self._parts.wake.set()
        for thread in self._threads:
            if thread.name in ("loop", "publisher"):
                thread.join(self._parts.settings.stop_seconds)
        if self._parts.elector is not None:
            self._elector_stop.set()
            self._elector_thread.join(self._parts.settings.lease_renew_deadline_seconds)
        for runner in self._runners.values():
            runner.close()
        self._appliers.shutdown(wait=False, cancel_futures=True)

    # -- what others ask ---------------------------------------------------------------------------------------------

    def fence(self) -> int:
        """Return the epoch to write with; raises NotLeadingError while another replica leads."""
        elector = self._parts.elector
        return ADVISORY_EPOCH if elector is None else elector.fence()

    @property
    def is_leading(self) -> bool:
        """Whether this replica decides: it leads, or nobody has to."""
        return self._parts.elector is None or self._parts.elector.is_leading

    def alive(self) -> str:
        """Return why the process should be restarted; empty while it turns."""
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        if ended and not self._stop.is_set():
            return f"thread {ended[0]} has ended"
        seconds = time.monotonic() - self._turned_at
        limit = self._parts.settings.stuck_after_seconds
        return f"the loop has not turned for {seconds:.0f} s" if seconds > limit else ""

    def missing(self) -> tuple[str, ...]:
        """Return what is missing for this replica to be fit for work; empty when nothing is."""
        rows = []
        for name, copy in (
            ("surgepolicies", self._parts.policies),
            ("gpupools", self._parts.pools),
            ("nodes", self._parts.nodes),
        ):
            if copy.age_seconds() is None:
                rows.append(f"{name}: not read yet{': ' + copy.problem if copy.problem else ''}")
        return tuple(rows)

    def status(self) -> StatusView:
        """Return what to show."""
        elector, settings = self._parts.elector, self._parts.settings
        problems = [Problem(code="NotReady", text=text) for text in self.missing()]
        problems += [Problem(code="WatchFailed", text=copy.problem) for copy in self._copies() if copy.problem]
        if elector is not None and elector.problem:
            problems.append(Problem(code="LeaseNotRenewed", text=elector.problem))
        problems += [Problem(code="FlagsStreamedLate", text=text) for text in self._parts.stream_problems()]
        problems += [
            Problem(code="MissingPermission", text=text) for text in sorted(self._parts.publisher.forbidden.values())
        ]
        return StatusView(
            schema=STATUS_SCHEMA,
            as_of=self._parts.clock(),
            replica=settings.identity,
            leading=self.is_leading and elector is not None,
            epoch=self._epoch,
            advisory=settings.advisory,
            policies=tuple(self._views[name] for name in sorted(self._views)),
            problems=(*problems, *(problem for rows in self._problems.copy().values() for problem in rows)),
        )

    def _copies(self) -> tuple[ListWatch[PolicyEntry] | ListWatch[PoolEntry] | ListWatch[NodeFacts], ...]:
        """Return the local copies."""
        return self._parts.policies, self._parts.pools, self._parts.nodes

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _run(self, stop: threading.Event) -> None:
        """Make a pass every period, and soon after something has changed."""
        settings, wake = self._parts.settings, self._parts.wake
        next_at = time.monotonic()
        while not stop.is_set():
            wake.wait(max(next_at - time.monotonic(), 0.0))
            wake.clear()
            began = time.monotonic()
            next_at = began + settings.period_seconds
            try:
                self.turn()
            except Exception:
                # The last resort: a defect in one pass must not end the loop; the limits in force do not depend on it.
                self._parts.metrics.passes.labels("defect").inc()
                self._log.exception("pass.failed")
            self._turned_at = time.monotonic()
            stop.wait(max(settings.least_pause_seconds - (time.monotonic() - began), 0.0))

    def turn(self) -> None:
        """Make one pass over every policy, if this replica decides and knows what there is."""
        self._observe_self()
        self._parts.on_turn(self._parts.policies.items())
        if not self.is_leading:
            if self._epoch is not None:
                self._parts.metrics.forget()  # another replica knows it now
            self._epoch = None
            return
        if self.missing():
            return
        try:
            epoch = self.fence()
            if epoch != self._epoch:
                self._begin_term(epoch)
            with self._parts.publisher.held(), self._parts.metrics.timed("pass"):
                self._pass(self._parts.clock())
            self._parts.metrics.passes.labels("done").inc()
        except NotLeadingError:
            self._parts.metrics.passes.labels("lost_lease").inc()
            self._log.warning("pass.abandoned", reason="the lease was lost")

    def _begin_term(self, epoch: int) -> None:
        """Forget what another leader may have changed."""
        self._epoch = epoch
        self._parts.metrics.epoch.set(epoch)
        self._parts.publisher.forget()
        for runner in self._runners.values():
            runner.forget()

    def _pass(self, now: datetime) -> None:
        """Run every policy; one that fails does not keep the others from running."""
        pools = self._parts.pools.items()
        record_broken_pools(self._recorder_tools, pools, now)
        rows = assign(self._parts.policies.items(), pools)
        for row in rows:
            name = row.entry.identity.name
            recorder = self._recorders.setdefault(name, Recorder(self._recorder_tools, name))
            try:
                self._run_policy(row, recorder, now)
            except NotLeadingError:
                raise
            except ControllerError as error:
                self._parts.metrics.passes.labels("failed").inc()
                self._log.warning("pass.policy_failed", policy=name, error=str(error))
                problem = Problem(code=_code(error), text=str(error))
                self._problems[name] = (problem,)
                recorder.record_broken(row, problem, now)
        known = {row.entry.identity.name for row in rows}
        for name, runner in self._runners.items():
            if name not in known:
                runner.close()
        for name in self._recorders.keys() - known:
            self._parts.metrics.drop(name)
        for kept in (self._runners, self._recorders, self._views, self._problems):
            for name in [name for name in kept if name not in known]:
                del kept[name]

    def _run_policy(self, row: Assignment, recorder: Recorder, now: datetime) -> None:
        """Run one policy, end it, or say why neither is possible."""
        name, settings = row.entry.identity.name, self._parts.settings
        runner = self._runners.get(name)
        if runner is None:
            runner = self._runners[name] = PolicyRunner(self._tools, self._store_of(row))
        if row.entry.identity.deleting_since is not None:
            self._forget(name)
            self._problems.pop(name, None)
            if not settings.advisory:
                step = self._depart(row, runner, now)
                recorder.record_broken(row, Problem(code="Deleting", text=step.text), now)
            return
        if row.problem is not None:
            self._forget(name)
            recorder.record_broken(row, row.problem, now)
            return
        trouble = "" if settings.advisory else ensure_finalizer(self._parts.client, row.entry)
        began = time.perf_counter()
        result = runner.run(row, now)
        followed = self._follow(row, result, now)
        found = [workload.problem for workload in followed if workload.problem is not None]
        self._problems[name] = (*found, *([Problem(code="FinalizerMissing", text=trouble)] if trouble else []))
        with self._parts.metrics.timed("publish"):
            self._views[name] = recorder.record(row, result, followed, now)
        self._log.info(
            "pass.done",
            policy=name,
            decision_id=result.plan.decision_id,
            seconds=round(time.perf_counter() - began, 4),
            rungs={verdict.region: int(verdict.rung) for verdict in result.plan.regions},
            actions=len(result.plan.actions),
            problems=[problem.code for problem in result.problems],
            advisory=result.is_advisory,
        )

    def _forget(self, name: str) -> None:
        """Show nothing more of a policy that is not run."""
        self._views.pop(name, None)
        self._parts.metrics.drop(name)

    def _depart(self, row: Assignment, runner: PolicyRunner, now: datetime) -> DepartureStep:
        """Take a deleted policy one step further towards its end."""
        ports = runner.ports
        if ports is None and row.entry.spec is not None:
            ports = runner.open_ports(row)
        return depart(row, ports, self._parts.client, self.fence, now)

    def _follow(self, row: Assignment, result: PassResult, now: datetime) -> tuple[Followed, ...]:
        """Let workloads follow their nodes; not in advisory mode."""
        if result.is_advisory:
            return ()
        states = {state.name: state for state in result.inputs.snapshot.pools}
        wishes = [
            Wish(
                pool=entry.pool.spec.name,
                reference=entry.pool.workload.reference,
                pods_per_node=entry.pool.workload.pods_per_node,
                nodes=states[entry.pool.spec.name].nodes,
            )
            for entry in row.pools
            if entry.pool is not None and entry.pool.workload is not None and entry.pool.spec.name in states
        ]
        with self._parts.metrics.timed("follow"):
            return self._follower.follow(wishes, self.fence, now)

    def _store_of(self, row: Assignment) -> StateStore | None:
        """Return where the state of a policy is kept; in advisory mode in this process only."""
        settings = self._parts.settings
        if settings.advisory:
            return None
        return StateStore(
            self._parts.client,
            namespace=row.entry.identity.namespace,
            policy=row.entry.identity.name,
            identity=settings.identity,
        )

    def _outrank(self, epoch: int) -> None:
        """Step down: somebody wrote with a higher epoch than ours."""
        if self._parts.elector is not None:
            self._parts.elector.outrank(epoch)

    def _observe_self(self) -> None:
        """Update the metrics of the process itself."""
        metrics, parts = self._parts.metrics, self._parts
        metrics.leader.set(1.0 if parts.elector is not None and parts.elector.is_leading else 0.0)
        for name, copy in (("surgepolicies", parts.policies), ("gpupools", parts.pools), ("nodes", parts.nodes)):
            age = copy.age_seconds()
            metrics.watch_age.labels(name).set(float("inf") if age is None else age)
        metrics.queue_depth.labels("publish").set(len(parts.publisher.queue))
        refused = parts.publisher.queue.num_refused
        metrics.queue_refused.labels("publish").inc(refused - self._num_refused)
        self._num_refused = refused


def _code(error: ControllerError) -> str:
    """Return the reason of a condition for an error: its class without the ending."""
    return type(error).__name__.removesuffix("Error")
