"""Failover against a real API: one writer with effect, nothing done twice, a new leader in time."""

import random

from tests.operator_failover import running_rig

NUM_FAILOVERS = 6
SLACK_SECONDS = 3.0
"""For a busy machine; the benchmark measures how long it takes on a quiet one."""


def test_two_replicas_never_both_have_effect(cluster):
    """Through random faults of the leader's connections no object sees an older epoch after a newer one."""
    chance = random.Random(20250331)
    with running_rig(cluster) as rig:
        for _ in range(NUM_FAILOVERS):
            rig.fail_over(chance)
        settings = rig.settings
    verdict = rig.verdict()
    assert verdict.num_failovers == NUM_FAILOVERS
    assert len({effect.epoch for effect in rig.ledger.effects}) >= 3, "several leaders had effect"
    assert any(effect.name.startswith("pool-") for effect in rig.ledger.effects)
    assert verdict.older_after_newer == []
    assert verdict.applied_twice == []
    bound = settings.lease_duration_seconds + settings.lease_retry_seconds + SLACK_SECONDS
    assert max(row.seconds for row in verdict.takeovers) <= bound
