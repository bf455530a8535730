"""Failovers of the operator against a real API: writers with effect, actions done twice, time to a new leader.

Two replicas behind proxies of their own lose the lease to random faults (hung, dropped and slow connections, lost
answers, errors of the lease alone) while they resize three pools and write flags all the time. A ledger watches every
write. `.venv/bin/python benchmarks/operator_failover.py --failovers 500 --parallel 4`
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.operator_cluster import cluster_of
from tests.operator_failover import Verdict, running_rig
from tools.real_parts.control_plane import ControlPlane, running_control_plane


def run(control_plane: ControlPlane, directory: Path, *, num_failovers: int, seed: int) -> Verdict:
    """Return the verdict of one pair of replicas in a namespace of its own.

    Args:
        control_plane: The API.
        directory: For kubeconfigs.
        num_failovers: How many.
        seed: Of the faults.

    Returns:
        What the ledger says.
    """
    chance = random.Random(seed)
    directory.mkdir()
    with cluster_of(control_plane, directory) as cluster:
        with running_rig(cluster) as rig:
            for _ in range(num_failovers):
                rig.fail_over(chance)
        return rig.verdict()


def main() -> int:
    """Run the benchmark and print one JSON document; exit 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failovers", type=int, default=500)
    parser.add_argument("--parallel", type=int, default=4, help="pairs of replicas at the same time")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    share = -(-options.failovers // options.parallel)
    with tempfile.TemporaryDirectory(prefix="meltguard-failover-") as folder:
        root = Path(folder)
        (root / "control-plane").mkdir()
        with (
            running_control_plane(root / "control-plane") as control_plane,
            ThreadPoolExecutor(options.parallel) as pool,
        ):
            jobs = [
                pool.submit(run, control_plane, root / f"pair-{n}", num_failovers=share, seed=options.seed + n)
                for n in range(options.parallel)
            ]
            verdicts = [job.result() for job in jobs]
    seconds = sorted(value for verdict in verdicts for value in verdict.takeover_seconds)
    document = {
        "failovers": sum(verdict.num_failovers for verdict in verdicts),
        "terms_of_leaders": len(seconds) + len(verdicts),
        "writes_with_effect": sum(verdict.num_effects for verdict in verdicts),
        "older_epoch_after_newer_on_an_object": sum(len(verdict.older_after_newer) for verdict in verdicts),
        "older_epoch_after_newer_elsewhere": sum(len(verdict.landed_late) for verdict in verdicts),
        "applied_twice": sum(len(verdict.applied_twice) for verdict in verdicts),
        "takeover_seconds": {
            "p50": round(seconds[len(seconds) // 2], 3),
            "p99": round(seconds[min(int(len(seconds) * 0.99), len(seconds) - 1)], 3),
            "max": round(seconds[-1], 3),
        },
        "lease_plus_retry_seconds": 2.2,
    }
    print(json.dumps(document))
    for verdict in verdicts:
        for text in (*verdict.older_after_newer, *verdict.applied_twice, *verdict.landed_late):
            print(text, file=sys.stderr)
    broken = document["older_epoch_after_newer_on_an_object"] or document["applied_twice"]
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
