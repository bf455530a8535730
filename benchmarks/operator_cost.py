"""What a pass of the operator costs: time by step, memory, and memory over many passes without metrics.

A real API holds the objects, the state, the flags and the statuses; the fleet itself is made up, so that the numbers
are the operator's own. `.venv/bin/python benchmarks/operator_cost.py --pools 50 --pools 1000`, and
`--pools 50 --soak 2000` for passes in which no metric answers.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))

from controller.adapters.ports import Learned, Observed, PoolSize, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import PoolTarget
from controller.operator.assembly import Connections, Copies, World, build_operator
from controller.operator.entries import PolicyEntry
from controller.operator.kubernetes.access import open_access
from controller.operator.policy_inputs import PolicyPorts
from controller.operator.settings import OperatorSettings
from controller.telemetry.metrics import ControllerMetrics
from controller.types import ForecastSet, Policy, Sample
from tests.operator_cluster import Cluster, cluster_of
from tests.operator_fakes import BoundFleet, ConfigMapFlagStore, FakeFleet, StoreFlags
from tests.operator_samples import policy_object, pool_object
from tools.real_parts.control_plane import running_control_plane

POOLS_PER_REGION = 20
NUM_WARM = 3
FORECAST_SECONDS = 60.0


class MemoryCapacity:
    """Pools in this process."""

    def __init__(self) -> None:
        """Begin with pools of four nodes."""
        self.sizes: dict[str, int] = {}

    def read(self, pool: PoolTarget, now: datetime) -> Sample[PoolSize]:
        """Read a pool."""
        size = self.sizes.get(pool.pool, 4)
        return Sample.fresh(PoolSize(desired=size, written=size, created=size, ready=size, revision="1"), now)

    def read_many(self, pools: tuple[PoolTarget, ...], now: datetime) -> dict[str, Sample[PoolSize]]:
        """Read several pools."""
        return {pool.pool: self.read(pool, now) for pool in pools}

    def set_size(self, order: SizeOrder, now: datetime) -> SizeReceipt:
        """Write a pool."""
        del now
        self.sizes[order.pool.pool] = order.to_nodes
        return SizeReceipt(outcome=WriteOutcome.DONE, text="done", wrote=True)


class SteadyForecasts(BoundFleet):
    """Forecasts that are made once a minute, as the real feed does."""

    def __init__(self, fleet: FakeFleet, capacity: MemoryCapacity) -> None:
        """Forecast nothing yet."""
        super().__init__(fleet, capacity)
        self._made: ForecastSet | None = None
        self._made_at = float("-inf")

    def forecasts(self, policy: Policy, now: datetime) -> ForecastSet:
        """Return the forecasts of the last minute."""
        if self._made is None or time.monotonic() - self._made_at > FORECAST_SECONDS:
            self._made, self._made_at = super().forecasts(policy, now), time.monotonic()
        return self._made


class NoMetrics(SteadyForecasts):
    """An observation whose metrics never answer."""

    def observe(self, policy: Policy, pools: tuple[PoolTarget, ...], now: datetime) -> Observed:
        """Return sizes and nothing else."""
        seen = super().observe(policy, pools, now)
        return replace(
            seen,
            snapshot=replace(seen.snapshot, regions=(), pools=()),
            problems=tuple(f"{signal}: connection refused" for signal in ("margin", "power", "requests")),
        )


def resident_megabytes() -> float:
    """Return the resident memory of this process in MB (10^6 bytes)."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6


def fill(cluster: Cluster, num_pools: int) -> None:
    """Create the pools and their policy."""
    regions = [f"r{index}" for index in range(-(-num_pools // POOLS_PER_REGION))]
    for index in range(num_pools):
        cluster.create(cluster.pools, pool_object(f"pool-{index:04d}", region=regions[index // POOLS_PER_REGION]))
    cluster.create(cluster.policies, policy_object(regions=[{"name": region} for region in regions]))


def child(kubeconfig: Path, namespace: str, num_passes: int, *, soak: bool) -> dict[str, object]:
    """Make passes in this process and return what they cost."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    fleet, capacity, metrics, audited = FakeFleet(), MemoryCapacity(), ControllerMetrics(), [0]
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.7, 2.0, 43.0
    settings = OperatorSettings(namespace=namespace, identity="bench", period_seconds=3600.0)

    def make_world(connections: Connections, copies: Copies) -> World:
        del copies
        bound = NoMetrics(fleet, capacity) if soak else SteadyForecasts(fleet, capacity)

        def ports(entry: PolicyEntry, learned: Learned) -> PolicyPorts:
            del entry, learned
            store = ConfigMapFlagStore(connections.main, namespace=namespace, name="images-flags")
            return PolicyPorts(capacity=capacity, flags=StoreFlags(store), observation=bound, forecasts=bound)

        return World(make_ports=ports)

    def audit(lines: tuple[bytes, ...]) -> None:
        audited[0] += sum(map(len, lines))

    idle = resident_megabytes()
    operator = build_operator(open_access(kubeconfig), settings, make_world, audit, metrics)
    operator.start()
    until = time.monotonic() + 120.0
    while metrics.registry.get_sample_value("meltguard_controller_passes_total", {"result": "done"}) != 1.0:
        assert time.monotonic() < until, operator.missing()
        time.sleep(0.1)
    seconds, resident = [], []
    for index in range(NUM_WARM + num_passes):
        began = time.perf_counter()
        operator.turn()
        if index >= NUM_WARM:
            seconds.append(time.perf_counter() - began)
            resident.append(resident_megabytes())
    seconds.sort()
    view = operator.status()
    operator.stop()
    tenth = max(len(resident) // 10, 1)
    return {
        "passes": len(seconds),
        "pools_seen": sum(len(policy.pools) for policy in view.policies),
        "pass_seconds": {
            "p50": round(seconds[len(seconds) // 2], 4),
            "p99": round(seconds[min(int(len(seconds) * 0.99), len(seconds) - 1)], 4),
            "max": round(seconds[-1], 4),
        },
        "mean_seconds_by_step": mean_seconds(metrics),
        "resident_megabytes": {
            "imports": round(idle, 1),
            "first_tenth": round(max(resident[:tenth]), 1),
            "last_tenth": round(max(resident[-tenth:]), 1),
            "max": round(max(resident), 1),
        },
        "audit_megabytes": round(audited[0] / 1e6, 2),
    }


def mean_seconds(metrics: ControllerMetrics) -> dict[str, float]:
    """Return the mean duration of each step of a pass."""
    steps: dict[str, float] = {}
    for family in metrics.registry.collect():
        if family.name == "meltguard_controller_pass_duration_seconds":
            sums = {s.labels["step"]: s.value for s in family.samples if s.name.endswith("_sum")}
            counts = {s.labels["step"]: s.value for s in family.samples if s.name.endswith("_count")}
            steps = {step: round(sums[step] / counts[step], 4) for step in sums}
    return steps


def main() -> int:
    """Run the benchmark and print one JSON document a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", type=int, action="append")
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("--soak", type=int, default=0, help="passes without metrics, instead")
    parser.add_argument("--child", nargs=2, metavar=("KUBECONFIG", "NAMESPACE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    num_passes = options.soak or options.passes
    if options.child:
        found = child(Path(options.child[0]), options.child[1], num_passes, soak=bool(options.soak))
        print(json.dumps(found))
        return 0
    for num_pools in options.pools or [50]:
        with tempfile.TemporaryDirectory(prefix="meltguard-cost-") as folder:
            root = Path(folder)
            (root / "control-plane").mkdir()
            with (
                running_control_plane(root / "control-plane") as control_plane,
                cluster_of(control_plane, root) as cluster,
            ):
                fill(cluster, num_pools)
                kubeconfig = cluster.kubeconfig_at(control_plane.url)
                # A process of its own, so that what fills the cluster does not count as the operator's memory.
                command = [sys.executable, __file__, f"--passes={num_passes}", f"--soak={options.soak}"]
                command += ["--child", str(kubeconfig), cluster.namespace]
                answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=900.0)
        print(json.dumps({"pools": num_pools, **json.loads(answer.stdout)}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
