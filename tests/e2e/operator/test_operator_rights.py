"""Least privilege: the operator works with exactly the verbs of its manifest, and says which one is missing."""

import pytest

from tests.operator_fakes import FakeFleet, make_operator
from tests.operator_samples import policy_object, pool_object


@pytest.fixture
def hot(cluster):
    """A pool, its workload, a policy, and a fleet in a surge."""
    cluster.deployment("eu-h100", 4)
    cluster.deployment("images", 4)
    cluster.create(cluster.pools, pool_object(workload={"name": "images"}))
    cluster.create(cluster.policies, policy_object())
    fleet = FakeFleet()
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    return fleet


@pytest.fixture
def running(cluster, hot):
    """Starts the operator, which works as its service account."""
    started = []

    def start():
        made = make_operator(cluster, hot)
        made.operator.start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.operator.stop()


def problems(made):
    """Return everything that the operator says is wrong, in words."""
    view = made.operator.status()
    rows = [*view.problems, *(problem for policy in view.policies for problem in policy.problems)]
    return " ".join([*(problem.text for problem in rows), *made.operator.missing()])


def test_the_manifest_is_enough(cluster, running, wait_until):
    """As its service account the operator limits, scales, lets the workload follow and reports, never refused."""
    made = running()
    wait_until(lambda: cluster.replicas("eu-h100") > 4 and cluster.replicas("images") > 4, timeout_seconds=25.0)
    wait_until(lambda: cluster.client.list(cluster.events)["items"])
    wait_until(lambda: cluster.client.get(cluster.policies, "images").get("status", {}).get("highestRung", 0) > 3)
    assert cluster.client.get(cluster.policies, "images")["metadata"]["finalizers"]
    assert "403" not in problems(made) and made.operator.status().problems == ()
    cluster.client.delete(cluster.policies, "images")
    wait_until(lambda: made.operator.status().policies == ())
    made.operator.stop()
    assert not cluster.client.get(cluster.leases, "meltguard-operator")["spec"].get("holderIdentity")


@pytest.mark.parametrize(
    "missing",
    [
        ["surgepolicies list"],
        ["leases get"],
        ["leases create"],
        ["leases update"],
        ["gpupools list", "nodes list"],
        ["surgepolicies watch", "gpupools watch", "nodes watch"],
        ["configmaps get"],
        ["configmaps create"],
        ["configmaps update"],
        ["surgepolicies patch", "gpupools/status patch", "surgepolicies/status patch", "events create"],
        ["configmaps patch", "deployments/scale patch"],
        ["surgepolicies get", "deployments/scale get"],
        ["deployments get"],
        ["horizontalpodautoscalers list"],
    ],
    ids=lambda missing: missing[0].replace(" ", "-"),
)
def test_a_missing_verb_is_named(cluster, running, wait_until, missing):
    """Whichever verbs are taken away, the operator goes on with the rest and names what it may not do."""
    for right in missing:
        cluster.account.take_away(*right.split())
    made = running()

    def unnamed():
        told = problems(made)
        return [right for right in missing if right.split()[0].partition("/")[0] not in told or "403" not in told]

    try:
        wait_until(lambda: not unnamed(), timeout_seconds=20.0)
    except AssertionError:
        pytest.fail(f"not named: {unnamed()}; told: {problems(made)}")
    assert made.passes("defect") == 0
