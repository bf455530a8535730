"""Failovers of the operator against a real API: writers with effect, actions done twice, time to a new leader.

Two replicas behind proxies of their own lose the lease to random faults (hung, dropped and slow connections, lost
answers, errors of the lease alone) while they resize three pools and write flags all the time. A ledger watches every
write. `.venv/bin/python benchmarks/operator_failover.py --failovers 500 --parallel 3`; in slices with seeds of
their own: `--failovers 170 --seed 1 --record FILE`, then `--seed 101`, then `--seed 201`; the last tells of all.

Time without a leader is counted from when the API took the last renewal, which is all that a follower can see. A
renewal that was held up on its way was sent before; what that makes is told beside it, and by fault.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.operator_cluster import cluster_of
from tests.operator_failover import Verdict, running_rig
from tools.real_parts.control_plane import ControlPlane, running_control_plane
from tools.real_parts.credentials import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a pair of replicas needs to know of the API, so that each pair can be a process of its own."""

    url: str
    credentials: Credentials


def run(place: Place, directory: Path, *, num_failovers: int, seed: int) -> Verdict:
    """Return the verdict of one pair of replicas in a namespace of its own.

    Args:
        place: The API.
        directory: For kubeconfigs.
        num_failovers: How many.
        seed: Of the faults.

    Returns:
        What the ledger says.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chance = random.Random(seed)
    directory.mkdir()
    with cluster_of(cast("ControlPlane", place), directory) as cluster:
        with running_rig(cluster) as rig:
            for _ in range(num_failovers):
                rig.fail_over(chance)
        return rig.verdict()


def plain(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain data."""
    return {
        "failovers": verdict.num_failovers,
        "effects": verdict.num_effects,
        "older_after_newer": verdict.older_after_newer,
        "landed_late": verdict.landed_late,
        "applied_twice": verdict.applied_twice,
        "takeovers": [[row.fault, row.seconds, row.stamped_seconds] for row in verdict.takeovers],
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Return count, median, 99th percentile and maximum of some seconds."""
    ranked = sorted(values)
    at_99 = ranked[min(int(len(ranked) * 0.99), len(ranked) - 1)]
    return {
        "count": len(ranked),
        "p50": round(ranked[len(ranked) // 2], 3),
        "p99": round(at_99, 3),
        "max": round(ranked[-1], 3),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all pairs of replicas showed together.

    Args:
        rows: One a pair, as :func:`plain` returns it.

    Returns:
        The document to print.
    """
    takeovers = [takeover for row in rows for takeover in row["takeovers"]]
    by_fault: dict[str, list[float]] = {}
    for fault, _, stamped in takeovers:
        by_fault.setdefault(fault or "none", []).append(stamped)
    return {
        "failovers": sum(row["failovers"] for row in rows),
        "terms_of_leaders": len(takeovers) + len(rows),
        "writes_with_effect": sum(row["effects"] for row in rows),
        "older_epoch_after_newer_on_an_object": sum(len(row["older_after_newer"]) for row in rows),
        "older_epoch_after_newer_elsewhere": sum(len(row["landed_late"]) for row in rows),
        "applied_twice": sum(len(row["applied_twice"]) for row in rows),
        "takeover_seconds": quantiles([seconds for _, seconds, _ in takeovers]),
        "since_the_renewal_was_sent_seconds": quantiles([stamped for _, _, stamped in takeovers]),
        "since_sent_by_fault_seconds": {fault: quantiles(values) for fault, values in sorted(by_fault.items())},
        "lease_plus_retry_seconds": 2.2,
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    """Run the benchmark and print one JSON document; exit 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failovers", type=int, default=500)
    parser.add_argument("--parallel", type=int, default=4, help="pairs of replicas at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="append to this file, and tell of all that is in it")
    options = parser.parse_args()
    share = -(-options.failovers // options.parallel)
    with tempfile.TemporaryDirectory(prefix="meltguard-failover-") as folder:
        root = Path(folder)
        (root / "control-plane").mkdir()
        with (
            running_control_plane(root / "control-plane") as control_plane,
            ProcessPoolExecutor(options.parallel, mp_context=multiprocessing.get_context("spawn")) as pool,
        ):
            place = Place(url=control_plane.url, credentials=control_plane.credentials)
            jobs = [
                pool.submit(run, place, root / f"pair-{n}", num_failovers=share, seed=options.seed + n)
                for n in range(options.parallel)
            ]
            verdicts = [job.result() for job in jobs]
    rows = [plain(verdict) for verdict in verdicts]
    if options.record is not None:
        with options.record.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        rows = [json.loads(line) for line in options.record.read_text(encoding="utf-8").splitlines()]
    document = summary(rows)
    print(json.dumps(document))
    for verdict in verdicts:
        for text in (*verdict.older_after_newer, *verdict.applied_twice, *verdict.landed_late):
            print(text, file=sys.stderr)
    broken = document["older_epoch_after_newer_on_an_object"] or document["applied_twice"]
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
