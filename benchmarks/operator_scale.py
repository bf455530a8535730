"""The real command on a large fleet: sample to write, seconds a pass, memory; and memory over passes without metrics.

A real API holds pools (MachineDeployments), Nodes, policy, state and flags; a real Prometheus scrapes eight GPUs a pool
and records the signals; `meltguard operator` runs as a process. One region after the other turns hot, and each time the
write of the limit that answers is awaited. Three times are told for each write of a flag, since they answer three
questions: how long a pass takes to act on what it reads (since the decision's own time), how long the operator lets a
sample lie that Prometheus can answer with (its period included), and how old the scrape is by then (rules included).
`.venv/bin/python benchmarks/operator_scale.py --pools 1000`, and `--pools 50 --soak 2000` for passes in which
Prometheus fails in turn by refusing, stalling, and talking nonsense.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.observation.signals import RULE_PREFIX, Signal, SignalSettings, recording_rules
from controller.operator.assembly import Connections, Copies, World, build_operator
from controller.operator.cluster_world import FlagStreams, cluster_world
from controller.operator.kubernetes import errors
from controller.operator.kubernetes.access import open_access
from controller.operator.kubernetes.resources import Resource
from controller.operator.settings import OperatorSettings
from controller.telemetry.metrics import ControllerMetrics
from tests.cluster_definitions import install
from tests.kubernetes_transport import DirectApi
from tests.operator_cluster import Cluster, cluster_of
from tests.operator_process import OperatorProcess
from tests.operator_samples import policy_object, pool_object
from tools.real_parts.control_plane import running_control_plane
from tools.real_parts.servers import PrometheusServer, running_prometheus

GPUS = 8
POOLS_PER_REGION = 20
NODES = Resource(api_version="v1", plural="nodes")
MACHINES = "cluster.x-k8s.io/v1beta2"
BUSY_WATTS = 690.0
COOL = {"inlet_temperature_estimate_celsius": 30.0, "thermal_margin_celsius": 20.0, "temperature_celsius": 67.0}
HOT = {"inlet_temperature_estimate_celsius": 51.0, "thermal_margin_celsius": 1.0, "temperature_celsius": 86.0}
STEADY = {"power_watts": 600.0, "seconds_to_slowdown": 600.0, "thermal_resistance_celsius_per_watt": 0.05}
REQUESTS_PER_GPU_SECOND = 0.09
SETTLE_SECONDS = 120.0
ANSWER_SECONDS = 60.0
EVERY_SECONDS = 2.0
NUM_CREATORS = 8


class Fleet:
    """The metrics of all GPUs, on one page; regions turn hot on demand."""

    def __init__(self, num_pools: int) -> None:
        """Serve a cool fleet."""
        self.regions = [f"r{index}" for index in range(-(-num_pools // POOLS_PER_REGION))]
        self._pools = {
            region: range(index * POOLS_PER_REGION, min((index + 1) * POOLS_PER_REGION, num_pools))
            for index, region in enumerate(self.regions)
        }
        self._cool = {region: self._gpus(region, COOL) for region in self.regions}
        self._hot = {region: self._gpus(region, HOT) for region in self.regions}
        self._is_hot: set[str] = set()
        self._began = time.monotonic()
        self.served: dict[str, float] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.page()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # a scrape that took too long
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"

    def heat(self, region: str) -> None:
        """Let a region be hot from the next scrape on."""
        self._is_hot.add(region)

    def page(self) -> bytes:
        """Return the page, and note when a hot region was first told."""
        hot, now = set(self._is_hot), time.time()
        for region in hot:
            self.served.setdefault(region, now)
        lines = []
        for region in self.regions:
            labels = f'region="{region}",pool="pool-{self._pools[region].start:04d}",node="n0"'
            gpus = len(self._pools[region]) * GPUS
            count = 1000.0 + REQUESTS_PER_GPU_SECOND * gpus * (time.monotonic() - self._began)
            for tier, share in (("free", 0.8), ("paid", 0.2)):
                told = f'region="{region}",tier="{tier}",attempt="first",outcome="admitted"'
                lines.append(f"meltguard_inference_requests_received_total{{{told}}} {count * share}")
            lines.append(f"meltguard_inference_queue_depth{{{labels}}} 0")
            lines.append(f"meltguard_inference_estimated_wait_seconds{{{labels}}} 0")
        parts = [self._hot[region] if region in hot else self._cool[region] for region in self.regions]
        return "\n".join([*lines, ""]).encode() + b"".join(parts)

    def _gpus(self, region: str, values: dict[str, float]) -> bytes:
        """Return the series of a region's GPUs."""
        lines = []
        for pool in self._pools[region]:
            for gpu in range(GPUS):
                labels = f'uuid="{pool}-{gpu}",gpu="{gpu}",node="node-{pool}",pool="pool-{pool:04d}",region="{region}"'
                lines += [f"meltguard_gpu_{name}{{{labels}}} {value}" for name, value in {**values, **STEADY}.items()]
                lines.append(f'meltguard_gpu_throttled{{{labels},reason="hw_thermal"}} 0')
        return "\n".join([*lines, ""]).encode()


class Broken:
    """A Prometheus that stalls, fails, and talks nonsense, in turn."""

    def __init__(self) -> None:
        """Begin to fail."""
        count = [0]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                count[0] += 1
                kind = count[0] // 50 % 4
                if kind == 0:
                    self.close_connection = True
                    return
                time.sleep(0.05 if kind == 1 else 0.0)
                body = b'{"status":"success","data":{"resultType":"vector","result":[{' if kind == 3 else b"no"
                self.send_response(200 if kind == 3 else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


class Limits:
    """Watches the flags: when each region was first limited, and by which decision."""

    def __init__(self, cluster: Cluster) -> None:
        """Begin to watch."""
        self._cluster = cluster
        self._store = ConfigMapFlagStore(cluster.client, namespace=cluster.namespace, name="images-flags")
        self.written: dict[str, tuple[float, datetime | None]] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        client = self._cluster.client_at(self._cluster.control_plane.url, read_seconds=30.0)
        version = client.list(self._cluster.config_maps)["metadata"]["resourceVersion"]
        while True:
            try:
                events = client.watch(
                    self._cluster.config_maps, resource_version=version, timeout_seconds=600.0, silence_seconds=60.0
                )
                for event in events:
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["object"]["metadata"].get("name") != "images-flags":
                        continue
                    at, stored = time.time(), self._store.parse(event["object"])
                    for flag in stored.rendered.flags:
                        self.written.setdefault(flag.region, (at, stored.written_at))
            except errors.KubernetesError:
                continue


def fill(cluster: Cluster, num_pools: int, regions: list[str]) -> None:
    """Create pools, what they scale, their Nodes, and the policy."""
    api = DirectApi(cluster.control_plane.url, cluster.control_plane.credentials)

    def wait(condition: Any) -> None:
        while not condition():
            time.sleep(0.1)

    install(api, wait)
    machines = cluster.resource(MACHINES, "machinedeployments")

    def create(index: int) -> None:
        name = f"pool-{index:04d}"
        size = {"replicas": 1, "readyReplicas": 1}
        body = {"apiVersion": MACHINES, "kind": "MachineDeployment", "metadata": {"name": name}, "status": size}
        cluster.create(machines, {**body, "spec": {"replicas": 1}})
        node = {
            "metadata": {"name": f"node-{index}", "labels": {"meltguard.dev/pool": name}},
            "status": {
                "allocatable": {"nvidia.com/gpu": str(GPUS)},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        cluster.client.create(NODES, {"apiVersion": "v1", "kind": "Node", **node})
        scale = {"apiVersion": MACHINES, "kind": "MachineDeployment", "name": name}
        pool = pool_object(name, region=regions[index // POOLS_PER_REGION], minNodes=1, target={"scale": scale})
        cluster.create(cluster.pools, pool)

    with ThreadPoolExecutor(NUM_CREATORS) as creators:
        list(creators.map(create, range(num_pools)))
    limits = {"maxNodesPerHour": 100_000, "maxShapedDemandRatio": 1.0, "maxEscalationsPerTenMinutes": 1_000}
    cluster.create(
        cluster.policies, policy_object(regions=[{"name": region} for region in regions], limits=limits, flagTtl="10m")
    )


def resident_megabytes(pid: int | str = "self") -> float:
    """Return the resident memory of a process in MB (10^6 bytes)."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6


def quantiles(values: list[float]) -> dict[str, float]:
    """Return count, median, 99th percentile and maximum."""
    ranked = sorted(values) or [float("nan")]
    return {
        "count": len(values),
        "p50": round(ranked[len(ranked) // 2], 3),
        "p99": round(ranked[min(int(len(ranked) * 0.99), len(ranked) - 1)], 3),
        "max": round(ranked[-1], 3),
    }


def passes(replica: OperatorProcess) -> list[float]:
    """Return the seconds of each pass that the process logged."""
    rows = [json.loads(line) for line in tuple(replica.errors) if '"pass.done"' in line]
    return [float(row["seconds"]) for row in rows]


def heat_up(fleet: Fleet, limits: Limits, prometheus: PrometheusServer, num_regions: int) -> dict[str, object]:
    """Let one region after the other turn hot, without waiting; return the three times to the write of each."""
    regions = fleet.regions[:num_regions]
    first_pools = {f"pool-{index * POOLS_PER_REGION:04d}": region for index, region in enumerate(regions)}
    query = f'{RULE_PREFIX}{Signal.MARGIN_MINIMUM.value}{{pool=~"{"|".join(first_pools)}"}} < 5'
    visible: dict[str, float] = {}
    began = time.monotonic()
    until = began + num_regions * EVERY_SECONDS + ANSWER_SECONDS
    while time.monotonic() < until and not all(region in limits.written and region in visible for region in regions):
        for region in regions[: int((time.monotonic() - began) / EVERY_SECONDS) + 1]:
            fleet.heat(region)
        for row in prometheus.query(query):
            visible.setdefault(first_pools[row["metric"]["pool"]], time.time())
        time.sleep(0.05)
    answered = [region for region in regions if region in limits.written and region in visible]
    writes = [(region, *limits.written[region]) for region in answered]
    return {
        "regions": num_regions,
        "unanswered": num_regions - len(answered),
        "decision_to_write_seconds": quantiles([at - made.timestamp() for _, at, made in writes if made is not None]),
        "visible_to_write_seconds": quantiles([at - visible[region] for region, at, _ in writes]),
        "scrape_to_write_seconds": quantiles([at - fleet.served[region] for region, at, _ in writes]),
    }


def run(options: argparse.Namespace, cluster: Cluster, directory: Path, stack: ExitStack) -> dict[str, object]:
    """Run the real command beside a real Prometheus and return what it showed."""
    fleet = Fleet(options.pools)
    fill(cluster, options.pools, fleet.regions)
    rules = directory / "rules.json"
    interval = f"{options.interval:g}s"
    rules.write_text(json.dumps(recording_rules(SignalSettings(busy_watts=BUSY_WATTS), interval=interval)))
    (directory / "prometheus").mkdir()
    prometheus = stack.enter_context(
        running_prometheus(directory / "prometheus", rule_files=[rules], interval_seconds=options.interval)
    )
    prometheus.scrape(fleet.address)
    kubeconfig = cluster.account.kubeconfig_at(cluster.control_plane.url)
    began = time.monotonic()
    replica = OperatorProcess(
        kubeconfig, cluster.namespace, prometheus.url, f"--period={options.period}", "--signals=recorded"
    )
    stack.callback(replica.kill)
    limits = Limits(cluster)
    until = time.monotonic() + SETTLE_SECONDS
    while True:
        view = replica.status()
        pools = [pool for policy in view["policies"] for pool in policy["pools"]]
        if len(pools) == options.pools and all(pool["min_margin_celsius"] is not None for pool in pools):
            break
        assert time.monotonic() < until, view["problems"]
        time.sleep(1.0)
    settled_seconds = time.monotonic() - began
    time.sleep(30.0)  # rates are over a minute
    warm, before = len(passes(replica)), sorted(limits.written)
    found = heat_up(fleet, limits, prometheus, min(options.events, len(fleet.regions)))
    seconds = passes(replica)[warm:]
    return {
        **found,
        "limited_before": len(before),
        "settled_seconds": round(settled_seconds, 1),
        "pass_seconds": quantiles(seconds),
        "resident_megabytes": round(resident_megabytes(replica.process.pid), 1),
    }


def soak(kubeconfig: Path, namespace: str, prometheus: str, num_passes: int) -> dict[str, object]:
    """Make passes of the real world in this process while Prometheus fails; return what they did to its memory."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    metrics = ControllerMetrics()
    settings = OperatorSettings(
        namespace=namespace, identity="soak", prometheus_url=prometheus, period_seconds=3600.0, audit_every_seconds=0.0
    )

    def make_world(connections: Connections, copies: Copies) -> World:
        return cluster_world(settings, connections, copies, FlagStreams(connections.main, None, namespace))

    operator = build_operator(open_access(kubeconfig), settings, make_world, lambda lines: None, metrics)
    operator.start()
    done, resident, seconds = 0, [], []
    while done < num_passes:
        began = time.perf_counter()
        operator.turn()
        if metrics.registry.get_sample_value("meltguard_controller_passes_total", {"result": "done"}):
            done += 1
            seconds.append(time.perf_counter() - began)
            resident.append(resident_megabytes())
        else:
            time.sleep(0.1)
    operator.stop()
    tenth = max(len(resident) // 10, 1)
    parts = [round(max(resident[n * tenth : (n + 1) * tenth]), 1) for n in range(10)]
    return {
        "passes": done,
        "defects": metrics.registry.get_sample_value("meltguard_controller_passes_total", {"result": "defect"}) or 0.0,
        "pass_seconds": quantiles(seconds),
        "resident_megabytes_by_tenth": parts,
    }


def main() -> int:
    """Run the benchmark and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", type=int, default=1000)
    parser.add_argument("--events", type=int, default=50, help="regions that turn hot")
    parser.add_argument("--period", default="1s", help="of the operator")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between scrapes, and between rules")
    parser.add_argument("--soak", type=int, default=0, help="passes without metrics, instead")
    parser.add_argument("--child", nargs=3, metavar=("KUBECONFIG", "NAMESPACE", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(soak(Path(options.child[0]), options.child[1], options.child[2], options.soak)))
        return 0
    with tempfile.TemporaryDirectory(prefix="meltguard-scale-") as folder, ExitStack() as stack:
        root = Path(folder)
        (root / "control-plane").mkdir()
        plane = stack.enter_context(running_control_plane(root / "control-plane"))
        cluster = stack.enter_context(cluster_of(plane, root))
        if options.soak:
            fleet = Fleet(options.pools)
            fill(cluster, options.pools, fleet.regions)
            kubeconfig = cluster.account.kubeconfig_at(plane.url)
            command = [sys.executable, __file__, f"--soak={options.soak}", "--child", str(kubeconfig)]
            command += [cluster.namespace, Broken().url]
            answer = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True, timeout=1800.0
            )
            found = json.loads(answer.stdout)
        else:
            found = run(options, cluster, root, stack)
    load = round(os.getloadavg()[0], 1)
    at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    print(json.dumps({"pools": options.pools, **found, "load": load, "at": at}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
