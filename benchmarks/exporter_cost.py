"""Memory and processor time of the GPU exporter: both processes, eight stubbed GPUs, all name sets, a scrape each 5 s.

The claim: at most 80 MiB resident together without derived thermals and pods, at most 130 MiB with both, flat over
100,000 collections (a collection is one reading of one GPU), at most 3 % of one core at a period of one second.
``--soak N`` reads every 100 ms until N collections are done and reports memory along the way.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from exporters.own_cost import cpu_seconds, resident_bytes
from tests.exporter_process import ExporterProcess, running_exporter
from tests.kubelet import running_kubelet
from tests.nvml_stub.stub import StubState, build_stub

MEBIBYTE = 2**20
WARM_UP_SECONDS = 20.0
SCRAPE_SECONDS = 5.0


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure after a warm-up")
    parser.add_argument("--with-all", action="store_true", help="with derived thermals and PodResources")
    parser.add_argument("--soak", type=int, default=0, help="collections to make at a period of 100 ms")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        state = StubState(directory / "stub.state")
        state.set(count=8)
        arguments = ["--nvml-library", str(build_stub(directory))]
        with running_kubelet(directory / "kubelet.sock") as kubelet:
            kubelet.allocate(*[(f"pod-{index}", f"GPU-{index:08x}-0000-4000-8000-000000000000") for index in range(8)])
            if options.with_all:
                arguments += ["--pod-resources", str(kubelet.socket)]
            else:
                arguments.append("--no-derived-thermals")
            if options.soak:
                arguments += ["--period", "100ms"]
            environment = {"MELTGUARD_STUB_STATE": str(state.path)}
            with running_exporter(*arguments, directory=directory, environment=environment) as exporter:
                exporter.wait(lambda: len(exporter.reasons()) == 8 and set(exporter.reasons().values()) == {"ok"})
                report = soak(exporter, options.soak) if options.soak else measure(exporter, options.seconds)
                print(json.dumps(report))


def pids_of(exporter: ExporterProcess) -> dict[str, int]:
    """Return the process ids of server and collector."""
    return {"server": exporter.process.pid, **{f"collector_{n}": pid for n, pid in exporter.pids().items()}}


def memory_of(exporter: ExporterProcess) -> dict[str, float]:
    """Return the resident memory by process and their sum, in MiB."""
    found = {role: round((resident_bytes(pid) or 0) / MEBIBYTE, 2) for role, pid in pids_of(exporter).items()}
    return {**found, "sum": round(sum(found.values()), 2)}


def measure(exporter: ExporterProcess, seconds: float) -> dict[str, object]:
    """Return memory and processor time of a warm exporter."""
    scrape_for(exporter, WARM_UP_SECONDS)
    before, began = {role: cpu_seconds(pid) or 0.0 for role, pid in pids_of(exporter).items()}, time.monotonic()
    scrape_for(exporter, seconds)
    elapsed = time.monotonic() - began
    used = {role: (cpu_seconds(pid) or 0.0) - before.get(role, 0.0) for role, pid in pids_of(exporter).items()}
    percent = {role: round(100.0 * value / elapsed, 3) for role, value in used.items()}
    return {
        "seconds": round(elapsed, 1),
        "resident_mib": memory_of(exporter),
        "cpu_percent_of_one_core": {**percent, "sum": round(sum(percent.values()), 3)},
        "num_cpus": os.cpu_count(),
    }


def scrape_for(exporter: ExporterProcess, seconds: float) -> None:
    """Scrape as Prometheus would."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        exporter.get("/metrics", {"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"})
        time.sleep(max(min(SCRAPE_SECONDS, end - time.monotonic()), 0.0))


def soak(exporter: ExporterProcess, num_collections: int) -> dict[str, object]:
    """Return memory by number of collections, at twenty points."""
    points: list[dict[str, float]] = []
    done = 0.0
    while done < num_collections:
        scrape_for(exporter, SCRAPE_SECONDS)
        done = exporter.samples()["meltguard_exporter_collections_total"][0][1]
        if done >= len(points) * num_collections / 20:
            points.append({"collections": done, **memory_of(exporter)})
    first, last = points[1] if len(points) > 1 else points[0], points[-1]
    return {"growth_mib": round(last["sum"] - first["sum"], 2), "points": points}


if __name__ == "__main__":
    main()
