"""The pod's own rules at twice its capacity, in virtual time.

What a machine adds (other threads, other processes) is left to `benchmarks/serving_overload.py`.
"""

from __future__ import annotations

import pytest

from inference.engine.settings import EngineSettings
from tests.virtual_pod import CAPACITY, MAX_WAIT_SECONDS, Course, percentile_99, run, share_told_rightly

SECONDS = 60.0


@pytest.fixture(scope="module")
def overload() -> Course:
    return run(2.0, SECONDS)


def test_the_queue_is_bounded_and_the_engine_always_has_work(overload: Course) -> None:
    """At twice the capacity half is refused, the queue keeps its limit, and goodput is that of full rows."""
    assert overload.num_refused > 0.4 * CAPACITY * SECONDS
    assert overload.max_queued <= EngineSettings().max_queued_requests
    assert overload.served_per_second >= 0.95 * CAPACITY


def test_admitted_work_waits_within_the_bound(overload: Course) -> None:
    """The 99th percentile of waits is within what the pod was told to admit."""
    assert percentile_99([wait for _, wait in overload.told]) <= MAX_WAIT_SECONDS


def test_waits_come_out_as_they_were_told(overload: Course) -> None:
    """Nine of ten are within a fifth of what the user was told, overtaking by later paid requests counted in."""
    assert len(overload.told) > 1_000
    assert share_told_rightly(overload) >= 0.9


def test_paid_users_hardly_notice(overload: Course) -> None:
    """Their 99th percentile is at most 1.3 times that of a full batch from which nobody is turned away."""
    full = run(1.0, SECONDS)
    assert full.num_refused == 0
    assert percentile_99(overload.latencies["paid"]) <= 1.3 * percentile_99(full.latencies["paid"])
