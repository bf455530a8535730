"""The snapshot of a small fleet, from a real Prometheus: what is there, what is old, gone and at odds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controller.adapters.observation.port import ClusterObservation, ObservationSettings
from controller.adapters.observation.signals import SignalSettings, SignalSource, recording_rules
from controller.adapters.ports import NodeFacts, Observed, PoolSize, SizeOrder, SizeReceipt
from controller.adapters.prometheus import PrometheusClient
from controller.adapters.targets import ObjectReference, PoolTarget
from controller.types import Freshness, Ownership, Sample
from forecasting.io import HttpLimits
from tests.planning_samples import policy
from tools.real_parts.servers import running_prometheus

POLICY = policy(2)
NODES = ("n0", "n1")
GPUS = range(8)


class Exposition:
    """A server with one page of metrics."""

    def __init__(self) -> None:
        """Serve the small fleet."""
        self.margin_shift = 0.0
        self.extra = ""
        self.guard_age = 1.0
        self.requests = 1000.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.page().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep the test output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.address = f"127.0.0.1:{self.server.server_port}"

    def page(self) -> str:
        """Return the page: pool r0-h is known, r1-h has no GPU that answers."""
        self.requests += 5.0
        lines = []
        for number, name in enumerate(NODES):
            for gpu in GPUS:
                labels = f'{{uuid="{name}-{gpu}",gpu="{gpu}",node="{name}",pool="r0-h",region="r0"}}'
                margin = 4.0 + 10.0 * number + gpu + self.margin_shift
                values = {
                    "gpu_thermal_margin_celsius": margin,
                    "gpu_temperature_celsius": 87.0 - margin,
                    "gpu_power_watts": 500.0,
                    "gpu_seconds_to_slowdown": 300.0 + gpu,
                    "gpu_thermal_resistance_celsius_per_watt": 0.05,
                    "gpu_inlet_temperature_estimate_celsius": 40.0,
                }
                lines += [f"meltguard_{key}{labels} {value}" for key, value in values.items()]
                reason = labels.replace("}", ',reason="hw_thermal"}')
                lines.append(f"meltguard_gpu_throttled{reason} {int(number == 0 and gpu < 4)}")
        first = 'region="r0",tier="free",attempt="first"'
        lines.append(f'meltguard_inference_requests_received_total{{{first},outcome="admitted"}} {self.requests}')
        lines.append('meltguard_inference_queue_depth{region="r0",pool="r0-h",node="n0"} 6')
        lines.append('meltguard_inference_ready{region="r0",pool="r0-h",node="n0"} 1')
        lines.append('meltguard_inference_thermal_guard_ratio{region="r0",pool="r0-h",node="n0"} 0.75')
        lines.append(
            f'meltguard_inference_thermal_guard_reading_age_seconds{{region="r0",pool="r0-h"}} {self.guard_age}'
        )
        lines.append('meltguard_inference_estimated_wait_seconds{region="r0",pool="r0-h",node="n0"} 3')
        return "\n".join([*lines, self.extra]) + "\n"

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=10)


class FixedCapacity:
    """Pools of a fixed size."""

    def read(self, pool: PoolTarget, now: datetime) -> Sample[PoolSize]:
        """Return three nodes."""
        del pool
        return Sample.fresh(PoolSize(desired=3, written=3, created=2, ready=2), now)

    def read_many(self, pools: tuple[PoolTarget, ...], now: datetime) -> Mapping[str, Sample[PoolSize]]:
        """Return all."""
        return {pool.pool: self.read(pool, now) for pool in pools}

    def set_size(self, order: SizeOrder, now: datetime) -> SizeReceipt:
        """Refuse: an observation orders nothing."""
        raise AssertionError(f"{order} at {now}")


class FixedNodes:
    """The nodes of the small fleet."""

    def nodes(self, now: datetime) -> Sample[tuple[NodeFacts, ...]]:
        """Return both nodes of pool r0-h."""
        facts = [
            NodeFacts(
                name=name,
                labels={"meltguard.dev/pool": "r0-h"},
                created_at=now,
                is_ready=True,
                is_schedulable=True,
                num_gpus=8,
            )
            for name in NODES
        ]
        return Sample.fresh(tuple(facts), now)


TARGETS = tuple(
    PoolTarget(
        pool=spec.name,
        region=spec.region,
        target=ObjectReference(api_version="apps/v1", kind="Deployment", name=spec.name, namespace="n"),
        ownership=Ownership.DESIRED,
        min_nodes=1,
        max_nodes=8,
        gpus_per_node=8,
    )
    for spec in POLICY.pools
)


@pytest.fixture
def exposition() -> Iterator[Exposition]:
    """The server."""
    server = Exposition()
    yield server
    server.close()


def observation(url: str, *, source: SignalSource = SignalSource.DIRECT) -> ClusterObservation:
    """Return the observation under test."""
    limits = HttpLimits(timeout_seconds=2.0, max_attempts=1)
    return ClusterObservation(
        PrometheusClient(url, limits), FixedCapacity(), FixedNodes(), ObservationSettings(source=source)
    )


def look(seen: ClusterObservation, *, later_seconds: float = 0.0) -> Observed:
    """Observe now."""
    return seen.observe(POLICY, TARGETS, datetime.now(tz=UTC) + timedelta(seconds=later_seconds))


def is_complete(seen: Observed) -> bool:
    """Return whether everything of the first pool has arrived, rates included."""
    rate = seen.snapshot.regions[0].tiers[0].first_attempt_rate
    pool = seen.snapshot.pools[0]
    return bool(pool.thermal.is_fresh and pool.margin.is_fresh and rate.is_fresh and rate.value)


def test_a_fleet_is_observed(prometheus, exposition, wait_until) -> None:
    """Margins, heat, rates and queues of the pool that answers; of the one that does not, nothing but its nodes."""
    prometheus.scrape(exposition.address)
    seen = observation(prometheus.url)
    wait_until(lambda: is_complete(look(seen)), timeout_seconds=60.0)
    found = look(seen)

    pool, dark = found.snapshot.pools
    assert pool.margin.value.minimum_celsius == 4.0
    assert (pool.margin.value.low_celsius, pool.margin.value.median_celsius) == (5.5, 12.5)
    assert pool.margin.value.num_nodes_low == 1
    assert (pool.power_watts.value, pool.throttled_ratio.value, pool.seconds_to_slowdown.value) == (500.0, 0.25, 300.0)
    assert pool.thermal.value.limit_celsius == pytest.approx(87.0)
    assert pool.thermal.value.offset_celsius == pytest.approx(40.0)
    assert (pool.guard_ratio.value, dark.guard_ratio.freshness) == (0.75, Freshness.ABSENT)
    assert (pool.nodes.value.ready, pool.nodes.value.serving, pool.nodes.value.pending) == (2, 1, 2)
    assert sum(order.num_nodes for order in pool.arrivals) == 2
    assert found.hottest_nodes == {"r0-h": ("n0", "n1")}
    assert {sample.freshness for sample in (dark.margin, dark.thermal, dark.power_watts)} == {Freshness.ABSENT}
    free, paid, _ = found.snapshot.regions[0].tiers
    # Only seconds of the minute that the rate is over have been scraped.
    assert 0.0 < free.first_attempt_rate.value < 15.0
    assert (paid.first_attempt_rate.value, free.queue_requests.value, free.wait_seconds.value) == (0.0, 6.0, 3.0)
    assert found.problems == ()


def test_pods_that_do_not_say_where_they_stand_do_not_count(prometheus, exposition, wait_until) -> None:
    """Ready pods without the node's label are not taken for one node that serves; the ready nodes are."""
    exposition.extra = 'meltguard_inference_ready{region="r1",pool="r1-h"} 1'
    prometheus.scrape(exposition.address)
    seen = observation(prometheus.url)
    wait_until(lambda: is_complete(look(seen)), timeout_seconds=60.0)

    assert look(seen).snapshot.pools[1].nodes.value.serving == look(seen).snapshot.pools[1].nodes.value.ready


@pytest.mark.parametrize("unguarded", ["one that reads nothing", "one without a guard"])
def test_a_pool_is_guarded_only_when_each_of_its_pods_is(prometheus, exposition, wait_until, unguarded) -> None:
    """A guard whose reading is old, or a pod without one, leaves the pool's guard absent: heat may reach hardware."""
    if unguarded == "one without a guard":
        exposition.extra = 'meltguard_inference_thermal_guard_ratio{region="r0",pool="r0-h",node="n1"} 1'
    else:
        exposition.guard_age = 300.0
    prometheus.scrape(exposition.address)
    seen = observation(prometheus.url)
    wait_until(lambda: look(seen).snapshot.pools[0].margin.is_fresh, timeout_seconds=60.0)

    assert look(seen).snapshot.pools[0].guard_ratio.freshness is Freshness.ABSENT


def test_a_counter_that_starts_anew_is_no_negative_rate(prometheus, exposition, wait_until) -> None:
    """After a restart of the server the rate of requests goes on; it is neither negative nor absent."""
    prometheus.scrape(exposition.address)
    seen = observation(prometheus.url)
    wait_until(lambda: is_complete(look(seen)), timeout_seconds=60.0)
    exposition.requests = 0.0
    wait_until(lambda: exposition.requests > 20.0, timeout_seconds=60.0)

    rate = look(seen).snapshot.regions[0].tiers[0].first_attempt_rate
    assert rate.is_fresh
    assert 0.0 < rate.value < 15.0


def test_metrics_that_stop_grow_stale_and_then_absent(prometheus, exposition, wait_until) -> None:
    """A scrape that is long over makes the values stale by their own time, and later there are none."""
    prometheus.scrape(exposition.address)
    seen = observation(prometheus.url)
    wait_until(lambda: is_complete(look(seen)), timeout_seconds=60.0)

    stale = look(seen, later_seconds=100.0).snapshot
    gone = look(seen, later_seconds=1000.0).snapshot

    assert stale.pools[0].margin.freshness is Freshness.STALE
    assert gone.pools[0].margin.freshness is Freshness.ABSENT
    assert gone.regions[0].tiers[0].first_attempt_rate.freshness is Freshness.ABSENT


def test_two_fleets_under_one_name_are_a_contradiction(prometheus, exposition, wait_until) -> None:
    """A second exporter of the same GPUs makes more GPUs than the nodes hold, and the margin is not to be acted on."""
    prometheus.scrape(exposition.address, f"localhost:{exposition.server.server_port}")
    seen = observation(prometheus.url)
    wait_until(lambda: look(seen).snapshot.pools[0].margin.freshness is Freshness.CONTRADICTORY, timeout_seconds=60.0)


def test_without_prometheus_everything_is_absent_and_soon() -> None:
    """A Prometheus that is down leaves no number behind, one problem for all signals, and the nodes as they are."""
    found = look(observation("http://127.0.0.1:9"))

    assert all(pool.margin.freshness is Freshness.ABSENT for pool in found.snapshot.pools)
    assert all(tier.first_attempt_rate.freshness is Freshness.ABSENT for tier in found.snapshot.regions[0].tiers)
    assert found.snapshot.pools[0].nodes.value.ready == 2
    assert len(found.problems) <= 2
    assert "127.0.0.1:9" in found.problems[0]


def test_recording_rules_say_the_same(tmp_path, exposition, wait_until) -> None:
    """Asked by recording rules, made from the same source, the fleet looks as it does when asked directly."""
    rules = tmp_path / "rules.json"
    settings = SignalSettings(busy_watts=POLICY.capacity.busy_watts_per_gpu)
    rules.write_text(json.dumps(recording_rules(settings, interval="500ms")), encoding="utf-8")
    (tmp_path / "p").mkdir()
    with running_prometheus(tmp_path / "p", rule_files=[rules]) as server:
        server.scrape(exposition.address)
        recorded, direct = observation(server.url, source=SignalSource.RECORDED), observation(server.url)
        wait_until(lambda: is_complete(look(recorded)), timeout_seconds=60.0)
        assert look(observation(server.url, source=SignalSource.AUTO)).snapshot.pools[0].thermal.is_fresh
        one, other = look(recorded).snapshot.pools[0], look(direct).snapshot.pools[0]

    assert one.margin.value == other.margin.value
    assert one.thermal.value.limit_celsius == other.thermal.value.limit_celsius
    assert one.throttled_ratio.value == other.throttled_ratio.value


def test_without_rules_the_signals_are_asked_directly(prometheus, exposition, wait_until) -> None:
    """Left to itself the observation takes recorded signals while there are any, and otherwise asks for each."""
    prometheus.scrape(exposition.address)
    chosen, recorded = (
        observation(prometheus.url, source=source) for source in (SignalSource.AUTO, SignalSource.RECORDED)
    )
    wait_until(lambda: look(chosen).snapshot.pools[0].margin.is_fresh, timeout_seconds=60.0)

    assert look(recorded).snapshot.pools[0].margin.freshness is Freshness.ABSENT
