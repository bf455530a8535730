"""Scrape latency of the GPU exporter, and age of what it serves, while one GPU hangs and one returns garbage.

Eight stubbed GPUs, all name sets, 50 scrapes per second over one kept-alive connection. The claim: p99 at most 5 ms,
readings of the other six GPUs at most 1.5 s old, no scrape fails. The client runs beside the exporter on the same
machine, so its own waiting for a processor counts into the latencies.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.exporter_process import ExporterProcess, running_exporter
from tests.nvml_stub.stub import StubState, build_stub

HEALTHY = (0, 1, 3, 4, 6, 7)


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to scrape")
    parser.add_argument("--rate", type=float, default=50.0, help="scrapes per second")
    parser.add_argument("--no-thermals", action="store_true", help="leave the derived thermals out")
    parser.add_argument("--openmetrics", action="store_true", help="scrape as Prometheus does: OpenMetrics, gzip")
    parser.add_argument("--healthy", action="store_true", help="neither hang nor garbage")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        state = StubState(directory / "stub.state")
        state.set(count=8)
        arguments = ["--nvml-library", str(build_stub(directory))]
        if options.no_thermals:
            arguments.append("--no-derived-thermals")
        environment = {"MELTGUARD_STUB_STATE": str(state.path)}
        with running_exporter(*arguments, directory=directory, environment=environment) as exporter:
            exporter.wait(lambda: len(exporter.reasons()) == 8 and set(exporter.reasons().values()) == {"ok"})
            if not options.healthy:
                state.set(gpu__2__hang="nvmlDeviceGetPowerUsage", gpu__5__garbage=1)
            print(json.dumps(measure(exporter, options)))


def measure(exporter: ExporterProcess, options: argparse.Namespace) -> dict[str, object]:
    """Scrape at the rate and return the figures."""
    parts = urlsplit(exporter.address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    headers = {"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"} if options.openmetrics else {}
    latencies, ages, failures, size = [], [], 0, 0
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < options.seconds:
        time.sleep(max(began + number / options.rate - time.monotonic(), 0.0))
        number += 1
        sent = time.perf_counter()
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        latencies.append(time.perf_counter() - sent)
        failures += answer.status != 200
        size = len(body)
        if number % 10 == 0 and not options.openmetrics:
            ages += ages_of(body.decode())
    latencies.sort()
    return {
        "scrapes": len(latencies),
        "failures": failures,
        "bytes": size,
        "p50_ms": round(1e3 * statistics.median(latencies), 3),
        "p90_ms": round(1e3 * latencies[int(0.90 * len(latencies))], 3),
        "p99_ms": round(1e3 * latencies[int(0.99 * len(latencies))], 3),
        "max_ms": round(1e3 * latencies[-1], 3),
        "max_age_of_healthy_seconds": max(ages, default=None),
        "states": exporter.reasons(),
    }


def ages_of(text: str) -> list[float]:
    """Return the ages of the healthy GPUs' readings in a scrape; a missing one counts as infinitely old."""
    found = {
        line.split('gpu="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("meltguard_gpu_reading_age_seconds{")
    }
    return [found.get(str(index), float("inf")) for index in HEALTHY]


if __name__ == "__main__":
    main()
