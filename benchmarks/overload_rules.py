"""The pod's rules at twice its capacity for two minutes of virtual time, without what a machine adds to them.

The real core, estimates, corrections and decisions, on steps of a fixed length: what is left of the figures of
`serving_overload.py` when nothing else takes time. Prints one JSON line for each seed:

- goodput over the capacity of full rows (bound: 0.95),
- the share of waits of at least 0.25 s that were told within 20 % (bound: 0.9),
- the 99th percentile of waits (bound: what the pod was told to admit),
- paid users' 99th percentile over that of a full batch from which hardly anybody is turned away (bound: 1.3).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.virtual_pod import CAPACITY, MAX_WAIT_SECONDS, percentile_99, run, share_told_rightly


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of each run, in virtual time")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs")
    options = parser.parse_args()
    for seed in range(options.seeds):
        full, over = (run(load, options.seconds, seed) for load in (1.0, 2.0))
        paid, paid_at_full = (percentile_99(course.latencies["paid"]) for course in (over, full))
        line = {
            "seed": seed,
            "goodput_ratio": round(over.served_per_second / CAPACITY, 4),
            "estimate_within_20_percent_ratio": round(share_told_rightly(over), 4),
            "wait_p99_seconds": round(percentile_99([wait for _, wait in over.told]), 3),
            "wait_bound_seconds": MAX_WAIT_SECONDS,
            "paid_p99_seconds": round(paid, 3),
            "paid_p99_ratio": round(paid / paid_at_full, 3),
            "refused": over.num_refused,
            "refused_at_full_batch": full.num_refused,
            "queue_depth_max": over.max_queued,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
