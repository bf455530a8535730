"""How long `meltguard --help` takes: the median of 20 fresh processes; at most 300 ms is claimed.

    python benchmarks/help_latency.py [--runs 20] [--command "replay --help"]

Each run is a process of its own, begun after the one before has ended. One run before the first warms the file cache
and writes the byte code, as an installer would; it is not counted. The processor time stands beside the wall-clock
time, because other work on the machine lengthens only the latter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGET_SECONDS = 0.3
TIMEOUT_SECONDS = 60.0
MAX_RUNS = 1000


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="processes to measure, 2 to 1000")
    parser.add_argument("--command", default="--help", help="arguments of meltguard")
    options = parser.parse_args()
    if not 2 <= options.runs <= MAX_RUNS:
        parser.error(f"--runs: {options.runs} is not within 2 and {MAX_RUNS}")
    command = [str(Path(sys.executable).parent / "meltguard"), *shlex.split(options.command)]
    _measure(command)
    wall_seconds, cpu_seconds = zip(*(_measure(command) for _ in range(options.runs)), strict=True)
    median = statistics.median(wall_seconds)
    result = {
        "command": shlex.join(["meltguard", *command[1:]]),
        "runs": options.runs,
        "median_seconds": round(median, 4),
        "least_seconds": round(min(wall_seconds), 4),
        "most_seconds": round(max(wall_seconds), 4),
        "median_cpu_seconds": round(statistics.median(cpu_seconds), 4),
        "target_seconds": TARGET_SECONDS,
        "holds": median <= TARGET_SECONDS,
        "made_by": shlex.join(["python", *sys.argv]),
        "python": platform.python_version(),
        "num_cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result))


def _measure(command: list[str]) -> tuple[float, float]:
    """Return the wall-clock and the processor time of one process, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=TIMEOUT_SECONDS)
    wall_seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
