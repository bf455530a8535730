"""Time from SIGKILL of the exporter's collector, at a random moment, to the next reading of every GPU; failed scrapes.

Eight stubbed GPUs, all name sets. The claim: every GPU is read again within 3 s, and no scrape fails meanwhile. The
serving process is scraped every 20 ms throughout.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.exporter_process import ExporterProcess, running_exporter
from tests.nvml_stub.stub import StubState, build_stub


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        state = StubState(directory / "stub.state")
        state.set(count=8)
        library = build_stub(directory)
        environment = {"MELTGUARD_STUB_STATE": str(state.path)}
        with running_exporter("--nvml-library", str(library), directory=directory, environment=environment) as exporter:
            exporter.wait(lambda: len(exporter.reasons()) == 8 and set(exporter.reasons().values()) == {"ok"})
            runs = []
            for _ in range(options.kills):
                # From the first moments of a collector's life to several periods into it.
                time.sleep(moments.uniform(0.0, 4.0))
                runs.append(kill_and_watch(exporter))
    seconds = sorted(run["seconds"] for run in runs)
    print(
        json.dumps(
            {
                "kills": len(runs),
                "seed": options.seed,
                "scrapes": sum(run["scrapes"] for run in runs),
                "failed_scrapes": sum(run["failed"] for run in runs),
                "median_seconds": round(seconds[len(seconds) // 2], 2),
                "max_seconds": round(seconds[-1], 2),
            }
        )
    )


def kill_and_watch(exporter: ExporterProcess) -> dict[str, float]:
    """Kill every collector and return how long it took until all GPUs were read again."""
    for pid in exporter.pids().values():
        os.kill(pid, signal.SIGKILL)
    killed_at, scrapes, failed = time.monotonic(), 0, 0
    while time.monotonic() - killed_at < 30.0:
        elapsed = time.monotonic() - killed_at
        scrapes += 1
        failed += exporter.get("/metrics")[0] != 200
        gpus = exporter.gpus().values()
        if all(gpu["up"] and gpu["age_seconds"] < elapsed for gpu in gpus):
            break
        time.sleep(0.02)
    return {"seconds": time.monotonic() - killed_at, "scrapes": scrapes, "failed": failed}


if __name__ == "__main__":
    main()
