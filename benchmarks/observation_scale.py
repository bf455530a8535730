"""Duration of one look at the fleet: 1,000 pools on a real API server, their GPUs in a real Prometheus.

Every pool is a MachineDeployment with its own Node labels; every GPU has the six series that the signals read. Measured
are the sizes of all pools, and the whole observation with the signals asked directly and by recording rules. The claim
of a pass over 1,000 pools within a second rests on the second kind.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.observation.port import ClusterObservation, ObservationSettings
from controller.adapters.observation.signals import SignalSettings, SignalSource, recording_rules
from controller.adapters.ports import NodeFacts
from controller.adapters.prometheus import PrometheusClient
from controller.adapters.targets import ObjectReference, PoolTarget
from controller.types import Ownership, Sample
from forecasting.io import HttpLimits
from tests.cluster_definitions import install
from tests.kubernetes_transport import DirectApi
from tests.planning_samples import policy, pool_spec
from tools.real_parts.control_plane import running_control_plane
from tools.real_parts.servers import running_prometheus

GPUS_PER_NODE = 8
NODES_PER_POOL = 1
REGIONS = 20
SERIES = {
    "gpu_thermal_margin_celsius": 12.0,
    "gpu_temperature_celsius": 75.0,
    "gpu_power_watts": 500.0,
    "gpu_seconds_to_slowdown": 600.0,
    "gpu_thermal_resistance_celsius_per_watt": 0.05,
    "gpu_inlet_temperature_estimate_celsius": 40.0,
}


def page(num_pools: int) -> bytes:
    """Return the metrics of the whole fleet."""
    lines = []
    for pool in range(num_pools):
        for gpu in range(GPUS_PER_NODE * NODES_PER_POOL):
            node = f"n{pool}-{gpu // GPUS_PER_NODE}"
            labels = f'{{uuid="{pool}-{gpu}",gpu="{gpu}",node="{node}",pool="p{pool}",region="r{pool % REGIONS}"}}'
            lines += [f"meltguard_{name}{labels} {value}" for name, value in SERIES.items()]
            reason = labels.replace("}", ',reason="hw_thermal"}')
            lines.append(f"meltguard_gpu_throttled{reason} 0")
    for region in range(REGIONS):
        first = f'region="r{region}",tier="free",attempt="first",outcome="admitted"'
        lines.append(f"meltguard_inference_requests_received_total{{{first}}} 1000")
    return "\n".join([*lines, ""]).encode()


class Exposition:
    """Serves the page."""

    def __init__(self, body: bytes) -> None:
        """Serve on a free port."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"


class Nodes:
    """All nodes, as a local copy has them."""

    def __init__(self, num_pools: int) -> None:
        """Make them once."""
        at = datetime.now(tz=UTC)
        self._nodes = tuple(
            NodeFacts(
                name=f"n{pool}-{number}",
                labels={"meltguard.dev/pool": f"p{pool}"},
                created_at=at,
                is_ready=True,
                is_schedulable=True,
                num_gpus=GPUS_PER_NODE,
            )
            for pool in range(num_pools)
            for number in range(NODES_PER_POOL)
        )

    def nodes(self, now: datetime) -> Sample[tuple[NodeFacts, ...]]:
        """Return them."""
        return Sample.fresh(self._nodes, now)


def create_pools(api: DirectApi, num_pools: int) -> tuple[PoolTarget, ...]:
    """Create the MachineDeployments and return the pools."""

    def wait(condition: Callable[[], object]) -> None:
        while not condition():
            time.sleep(0.1)

    install(api, wait)
    collection = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machinedeployments"
    pools = []
    for number in range(num_pools):
        name = f"p{number}"
        size = {"replicas": NODES_PER_POOL, "readyReplicas": NODES_PER_POOL}
        body = {
            "apiVersion": "cluster.x-k8s.io/v1beta2",
            "kind": "MachineDeployment",
            "metadata": {"name": name},
            "spec": {"replicas": NODES_PER_POOL},
            "status": size,
        }
        answer = api.call("POST", collection, body=body)
        if not answer.ok:
            raise AssertionError(answer.message)
        reference = ObjectReference(
            api_version="cluster.x-k8s.io/v1beta2", kind="MachineDeployment", name=name, namespace="default"
        )
        pools.append(
            PoolTarget(
                pool=name,
                region=f"r{number % REGIONS}",
                target=reference,
                ownership=Ownership.DESIRED,
                min_nodes=0,
                max_nodes=20,
                gpus_per_node=GPUS_PER_NODE,
            )
        )
    return tuple(pools)


def timed(what: Callable[[], object], num_times: int) -> dict[str, float]:
    """Do something again and again; return quantiles in milliseconds."""
    seconds = []
    for _ in range(num_times):
        began = time.perf_counter()
        what()
        seconds.append(time.perf_counter() - began)
    ranked = sorted(seconds)
    at = {"p50": ranked[len(ranked) // 2], "p99": ranked[int(0.99 * len(ranked))], "min": ranked[0]}
    return {name: round(value * 1000.0) for name, value in at.items()}


def _options() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", type=int, default=1000, help="pools")
    parser.add_argument("--times", type=int, default=20, help="looks of each kind")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and print one JSON line."""
    options = _options()
    fleet = policy(REGIONS)
    specs = tuple(pool_spec(f"p{number}", f"r{number % REGIONS}") for number in range(options.pools))
    fleet = type(fleet)(**{**{name: getattr(fleet, name) for name in fleet.__slots__}, "pools": specs})
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        (directory / "api").mkdir()
        (directory / "prometheus").mkdir()
        rules = directory / "rules.json"
        settings = SignalSettings(busy_watts=fleet.capacity.busy_watts_per_gpu)
        rules.write_text(json.dumps(recording_rules(settings)), encoding="utf-8")
        plane = stack.enter_context(running_control_plane(directory / "api"))
        prometheus = stack.enter_context(
            running_prometheus(directory / "prometheus", rule_files=[rules], interval_seconds=5.0)
        )
        exposition = Exposition(page(options.pools))
        prometheus.scrape(exposition.address)
        api = DirectApi(plane.url, plane.credentials)
        pools = create_pools(api, options.pools)
        capacity = ClusterCapacity(api)

        def look(recorded: bool) -> Callable[[], object]:
            source = SignalSource.RECORDED if recorded else SignalSource.DIRECT
            seen = ClusterObservation(
                PrometheusClient(prometheus.url, HttpLimits(timeout_seconds=30.0, max_attempts=1)),
                capacity,
                Nodes(options.pools),
                ObservationSettings(source=source, metrics_seconds=60.0),
            )
            return lambda: seen.observe(fleet, pools, datetime.now(tz=UTC))

        def is_complete(seen: object) -> bool:
            return all(pool.margin.is_fresh and pool.thermal.is_fresh for pool in seen.snapshot.pools)  # type: ignore[attr-defined]

        for recorded in (True, False):
            until = time.monotonic() + 180.0
            while not is_complete(look(recorded)()):
                if time.monotonic() > until:
                    raise AssertionError(f"the metrics did not arrive (recorded: {recorded})")
                time.sleep(1.0)
        results = {
            "sizes_milliseconds": timed(lambda: capacity.read_many(pools, datetime.now(tz=UTC)), options.times),
            "recorded_milliseconds": timed(look(True), options.times),
            "direct_milliseconds": timed(look(False), max(options.times // 4, 3)),
        }
    print(
        json.dumps(
            {
                "benchmark": "observation_scale",
                "pools": options.pools,
                "gpus": options.pools * GPUS_PER_NODE * NODES_PER_POOL,
                **results,
                "resident_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "num_processors": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
