"""The pod's metrics: all there from the start, conserved, clean for promtool, enough for vLLM's dashboard."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import promql_parser
import pytest

from exporters import metric_names
from exporters.metric_names import MetricType
from inference.serving.buckets import BOUNDS, INTER_TOKEN
from inference.stepped.engine import SteppedEngine
from tests.inference_server import RunningServer, running_server
from tools.real_parts.processes import find_program
from tools.real_parts.servers import running_prometheus

OTHERS = {"meltguard_inference_thermal_guard_reading_age_seconds", "meltguard_flags_age_seconds",
          "meltguard_flags_accepted_timestamp_seconds"}  # fmt: skip
"""Gauges that have no value until there is something to measure."""

DASHBOARD_QUERIES = (
    'sum by(le) (rate(vllm:e2e_request_latency_seconds_bucket{model_name="$model_name"}[$__rate_interval]))',
    'rate(vllm:e2e_request_latency_seconds_sum{model_name="$model_name"}[$__rate_interval])',
    'rate(vllm:e2e_request_latency_seconds_count{model_name="$model_name"}[$__rate_interval])',
    'rate(vllm:prompt_tokens_total{model_name="$model_name"}[$__rate_interval])',
    'rate(vllm:generation_tokens_total{model_name="$model_name"}[$__rate_interval])',
    'sum by(le) (rate(vllm:inter_token_latency_seconds_bucket{model_name="$model_name"}[1m]))',
    'rate(vllm:inter_token_latency_seconds_sum{model_name="$model_name"}[$__rate_interval])',
    'vllm:num_requests_running{model_name="$model_name"}',
    'vllm:num_requests_waiting{model_name="$model_name"}',
    'histogram_quantile(0.5, sum by(le) (rate(vllm:time_to_first_token_seconds_bucket{model_name="$model_name"}[1m])))',
    'vllm:kv_cache_usage_perc{model_name="$model_name"}',
    'sum by(le) (increase(vllm:request_prompt_tokens_bucket{model_name="$model_name"}[$__rate_interval]))',
    'sum by(le) (increase(vllm:request_generation_tokens_bucket{model_name="$model_name"}[$__rate_interval]))',
    'sum by(finished_reason) (increase(vllm:request_success_total{model_name="$model_name"}[$__rate_interval]))',
    'rate(vllm:request_queue_time_seconds_sum{model_name="$model_name"}[$__rate_interval])',
    'rate(vllm:request_prefill_time_seconds_sum{model_name="$model_name"}[$__rate_interval])',
    'rate(vllm:request_decode_time_seconds_sum{model_name="$model_name"}[$__rate_interval])',
    'sum by(le) (increase(vllm:iteration_tokens_total_bucket{model_name="$model_name"}[$__rate_interval]))',
    'max_over_time(vllm:request_max_num_generation_tokens_bucket{model_name="$model_name"}[$__rate_interval])',
)
"""The shapes of query in vLLM's shipped Grafana dashboard: these names, with this label."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


def test_every_metric_is_there_before_the_first_request() -> None:
    """Every family of the contract is served from the start, counters at zero."""
    with running_server() as server:
        names = {name for name, _ in server.samples()}
        for metric in (*metric_names.INFERENCE_METRICS, *metric_names.VLLM_METRICS):
            name = f"{metric.name}_count" if metric.type is MetricType.HISTOGRAM else metric.name
            assert name in names or metric.name in OTHERS, f"{metric.name} is missing"
        counter = "meltguard_inference_requests_received_total"
        requests = [value for (name, _), value in server.samples().items() if name == counter]
    # Two regions, three tiers, two kinds of attempt, six outcomes.
    assert requests == [0.0] * 72


def test_every_series_is_of_the_contract(server: RunningServer) -> None:
    """Nothing is served that the contract does not name, and labels are the contract's."""
    known = {metric.name: metric for metric in metric_names.ALL_METRICS}
    for name, pairs in server.samples():
        base = name if name in known else re.sub(r"_(bucket|sum|count)$", "", name)
        labels = {label for label, _ in pairs} - {"le"}
        assert labels == set(known[base].labels), name


def test_promtool_finds_nothing_wrong(server: RunningServer) -> None:
    """`promtool check metrics` accepts every family of ours; vLLM's colons are what it says about the others."""
    page = server.get("/metrics").body
    done = subprocess.run(
        [find_program("promtool"), "check", "metrics"], input=page, capture_output=True, timeout=30, check=False
    )
    complaints = (done.stdout + done.stderr).decode().splitlines()
    assert [line for line in complaints if line.startswith("meltguard_")] == []
    assert all(line.startswith("vllm:") for line in complaints), complaints


@pytest.mark.parametrize("query", DASHBOARD_QUERIES)
def test_the_dashboard_of_vllm_finds_its_series(server: RunningServer, query: str) -> None:
    """Every series that vLLM's shipped dashboard asks for exists, under the label that it filters by."""
    samples = server.samples()
    promql_parser.parse(query.replace("$__rate_interval", "5m"))
    for name in re.findall(r"vllm:\w+", query):
        found = [dict(pairs) for sample, pairs in samples if sample == name]
        assert found, name
        assert all(labels["model_name"] == "test-pattern" for labels in found)


def test_buckets_contain_those_of_vllm() -> None:
    """Between two tokens the buckets are vLLM's and finer ones, so that its `le` queries keep working."""
    vllm = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
    assert set(vllm) < set(INTER_TOKEN)
    for bounds in BOUNDS.values():
        assert list(bounds) == sorted(set(bounds))


def test_openmetrics_is_served_to_those_who_ask(server: RunningServer) -> None:
    """The Accept header chooses the format."""
    answer = server.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.body.rstrip().endswith(b"# EOF")


@pytest.mark.real_parts
def test_a_sampled_request_is_found_again_in_prometheus(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    """A real Prometheus stores the trace of a sampled request with the time to its first token; the text has none."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    storing = ("--enable-feature=exemplar-storage",)
    with running_server() as server, running_prometheus(tmp_path, arguments=storing) as prometheus:
        for flags, user in (("00", "unseen"), ("01", "seen")):
            header = f"00-{trace.replace('4', flags[1])}-00f067aa0ba902b7-{flags}"
            assert server.post({"prompt": "seven", "user": user}, traceparent=header).status == 200
        prometheus.scrape(server.url.removeprefix("http://"))
        bucket = "meltguard_inference_time_to_first_token_seconds_bucket"
        wait_until(lambda: prometheus.exemplars(bucket))
        stored = prometheus.exemplars(bucket)
        text = server.get("/metrics").body.decode()

    assert {one["labels"]["trace_id"] for series in stored for one in series["exemplars"]} == {trace.replace("4", "1")}
    assert "trace_id" not in text


def test_requests_are_conserved() -> None:
    """Received = ended + refused + invalid, by every counter, after all kinds of ends."""
    with running_server(SteppedEngine(tokens_per_second=2_000.0, num_slots=2, max_queued_tokens=512)) as server:
        with ThreadPoolExecutor(32) as pool:
            drawn = [pool.submit(server.draw, user=f"u{number}", n=1 + number % 2) for number in range(40)]
            drawn += [pool.submit(server.draw, "cat", user=f"c{number}") for number in range(5)]
            statuses = [future.result(timeout=60).status for future in drawn]
        server.wait(lambda: server.engine.snapshot().num_busy_slots == 0)

        def total(name: str, **labels: str) -> float:
            return server.metric(f"meltguard_inference_{name}", **labels)

        received = total("requests_received_total")
        assert received == 45
        assert total("requests_ended_total") == statuses.count(200)
        assert total("requests_received_total", outcome="admitted") == statuses.count(200)
        assert total("requests_received_total", outcome="invalid") == 5
        assert total("requests_refused_total") == statuses.count(429)
        assert total("tokens_total") == 64 * total("images_generated_total")
        assert total("wait_seconds_count") == statuses.count(200)
        # Every token, of prompts and of images, was counted in the step that took it.
        prompt_tokens = server.metric("vllm:prompt_tokens_total")
        assert prompt_tokens == total("images_generated_total")
        assert server.metric("vllm:iteration_tokens_total_sum") == total("tokens_total") + prompt_tokens
        # Gauges are of this moment: nothing runs, so nothing is left of the load.
        assert total("queue_depth") == total("queue_tokens") == total("batch_size") == 0
        assert total("slots", state="busy") == 0
        assert server.metric("vllm:num_requests_running") == server.metric("vllm:num_requests_waiting") == 0
        assert server.metric("vllm:request_success_total", finished_reason="length") == statuses.count(200)
