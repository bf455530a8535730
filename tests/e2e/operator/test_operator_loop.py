"""The loop against a real API: it escalates, scales, records, restores, and says so where kubectl shows it."""

import json
import subprocess

import pytest

from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.learned import Learned, PoolRecord
from controller.planning.audit import read_audit
from controller.types import PendingNodes
from tests.operator_fakes import FakeFleet, in_seconds, make_operator
from tests.operator_samples import policy_object, pool_object


@pytest.fixture
def fleet():
    """A calm fleet."""
    return FakeFleet()


@pytest.fixture
def running(cluster, fleet):
    """Starts operators and ends them in order."""
    started = []

    def start(**settings):
        made = make_operator(cluster, fleet, **settings)
        made.operator.start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.operator.stop()


@pytest.fixture
def objects(cluster):
    """A Deployment as a pool of four nodes, its GPUPool and a SurgePolicy."""
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object(thermal={"marginTargetCelsius": 6}))
    cluster.create(cluster.policies, policy_object())


def status(cluster, resource, name):
    return cluster.client.get(resource, name).get("status", {})


def condition(cluster, resource, name, kind):
    rows = status(cluster, resource, name).get("conditions", [])
    return next((row for row in rows if row["type"] == kind), {})


def limits(cluster):
    store = ConfigMapFlagStore(cluster.client, namespace=cluster.namespace, name="images-flags")
    return store.read(in_seconds(0.0)).value.rendered.flags


def kubectl(cluster, *arguments):
    """Return what kubectl prints in the namespace."""
    kubeconfig = cluster.kubeconfig_at(cluster.control_plane.url)
    command = ["kubectl", f"--kubeconfig={kubeconfig}", "-n", cluster.namespace, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_calm_is_calm(cluster, running, objects, wait_until):
    """A settled fleet is watched: statuses say so, and nothing is changed."""
    made = running()
    wait_until(lambda: condition(cluster, cluster.policies, "images", "Ready").get("status") == "True")
    wait_until(lambda: condition(cluster, cluster.pools, "eu-h100", "Ready").get("status") == "True")
    assert status(cluster, cluster.policies, "images")["doing"] == "watching"
    shown = status(cluster, cluster.pools, "eu-h100")
    assert shown["nodes"] == {"desired": 4, "created": 4, "ready": 4, "serving": 4, "pending": 0}
    assert shown["doing"] == "steady" and shown["thermal"]["minMarginCelsius"] > 15
    assert cluster.replicas("eu-h100") == 4 and limits(cluster) == ()
    assert made.passes("failed") == made.passes("defect") == 0


def test_a_surge_adds_nodes_and_limits_and_says_why(cluster, fleet, running, objects, wait_until):
    """Heat ahead: nodes are ordered, limits are written with an expiry, and every record names the decision."""
    made = running()
    wait_until(lambda: status(cluster, cluster.policies, "images").get("doing") == "watching")
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    wait_until(lambda: cluster.replicas("eu-h100") > 4 and limits(cluster))

    held = limits(cluster)
    assert all(flag.tier == "free" and flag.expires_at > in_seconds(0.0) for flag in held)
    wait_until(lambda: condition(cluster, cluster.policies, "images", "MitigationActive").get("status") == "True")
    shown = status(cluster, cluster.policies, "images")
    assert shown["highestRung"] >= 4 and shown["activeMitigations"][0]["expiresAt"]
    wait_until(lambda: {row["reason"] for row in cluster.client.list(cluster.events)["items"]} >= {"Scaled"})
    records = list(read_audit(made.audit))
    assert any(record.plan.actions for record in records)
    assert all(record.is_identical() for record in records)
    ring = json.loads(cluster.client.get(cluster.config_maps, "images-meltguard-decisions")["data"]["decisions.json"])
    assert {row["kind"] for entry in ring["decisions"] for row in entry["actions"]} == {"nodes", "limit"}
    told = kubectl(cluster, "describe", "surge", "images")
    assert "LimitsChanged" in told and "Active Mitigations" in told and "without action slowdown in" in told
    assert "Scaled" in kubectl(cluster, "describe", "gpool", "eu-h100")
    listed = kubectl(cluster, "get", "surge,gpool", "-o", "wide")
    (of_policy,) = (line for line in listed.splitlines() if "/images" in line)
    assert "eu: " in of_policy and f"{held[0].expires_at:%Y-%m-%dT%H:}" in of_policy, "who is limited, and until when"


def test_stale_evidence_lifts_nothing(cluster, fleet, running, objects, wait_until):
    """While metrics are gone limits are renewed and nodes stay; the condition says what is missing."""
    running(period_seconds=0.2)
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    wait_until(lambda: limits(cluster))
    size = cluster.replicas("eu-h100")
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.1, 1.0, 30.0
    fleet.has_forecasts = False
    before = fleet.num_observed
    wait_until(lambda: fleet.num_observed > before + 5)
    assert limits(cluster) and cluster.replicas("eu-h100") >= size


def test_a_foreign_edit_of_the_flags_is_repaired(cluster, running, objects, wait_until):
    """A hand that edits the flags is noticed, said, and overwritten under a higher revision."""
    running()
    wait_until(lambda: condition(cluster, cluster.policies, "images", "Ready").get("status") == "True")
    store = ConfigMapFlagStore(cluster.client, namespace=cluster.namespace, name="images-flags")
    body = {"metadata": {"name": "images-flags"}, "data": {"flags.json": '{"flags": {}}'}}
    cluster.create(cluster.config_maps, {"apiVersion": "v1", "kind": "ConfigMap", **body})
    wait_until(lambda: store.read(in_seconds(0.0)).value.intact)
    reasons = {row["reason"] for row in cluster.client.list(cluster.events)["items"]}
    wait_until(lambda: "FlagsEditedByHand" in reasons or "FlagsEditedByHand" in _reasons(cluster))


def _reasons(cluster):
    return {row["reason"] for row in cluster.client.list(cluster.events)["items"]}


def test_a_broken_object_is_a_condition_and_no_crash(cluster, running, objects, wait_until):
    """What the API server let through but the rules refuse is said in the object's own status."""
    running()
    cluster.create(cluster.pools, pool_object("broken", minNodes=9))
    ladder = [{"rung": 4, "enter": {"marginCelsius": 9}, "exit": {"marginCelsius": 1}}]
    cluster.create(cluster.policies, policy_object("wrong", ladder=ladder, regions=[{"name": "us"}]))
    wait_until(lambda: condition(cluster, cluster.pools, "broken", "Ready").get("reason") == "InvalidSpec")
    wait_until(lambda: condition(cluster, cluster.policies, "wrong", "Ready").get("reason") == "InvalidSpec")
    assert "spec.ladder[0]: exit" in condition(cluster, cluster.policies, "wrong", "Ready")["message"]
    wait_until(lambda: condition(cluster, cluster.policies, "images", "Ready").get("status") == "True")


def test_two_policies_cannot_share_a_region(cluster, running, objects, wait_until):
    """The older policy keeps the region, the younger one says whose it is."""
    running()
    wait_until(lambda: condition(cluster, cluster.policies, "images", "Ready").get("status") == "True")
    cluster.create(cluster.policies, policy_object("later"))
    wait_until(lambda: condition(cluster, cluster.policies, "later", "Ready").get("reason") == "RegionTaken")
    assert "images" in condition(cluster, cluster.policies, "later", "Ready")["message"]


def test_people_can_steer_with_annotations(cluster, fleet, running, objects, wait_until):
    """A limit set by hand holds with its author's name, and ends by itself."""
    running()
    wait_until(lambda: condition(cluster, cluster.policies, "images", "Ready").get("status") == "True")
    until = in_seconds(4.0).strftime("%Y-%m-%dT%H:%M:%SZ")
    order = f"rung=4 until={until} by=alice reason=load test"
    patch = {"metadata": {"annotations": {"limit.meltguard.dev/eu": order}}}
    cluster.client.merge_patch(cluster.policies, "images", patch)
    wait_until(lambda: limits(cluster))
    wait_until(lambda: "alice" in status(cluster, cluster.policies, "images")["regions"][0]["reason"])


def test_a_paused_policy_stands_still(cluster, fleet, running, objects, wait_until):
    """Paused altogether, the operator orders nothing and limits nothing, and says so."""
    running()
    patch = {"metadata": {"annotations": {"meltguard.dev/paused": "all"}}}
    cluster.client.merge_patch(cluster.policies, "images", patch)
    wait_until(lambda: condition(cluster, cluster.policies, "images", "Paused").get("status") == "True")
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    before = fleet.num_observed
    wait_until(lambda: fleet.num_observed > before + 5)
    assert limits(cluster) == () and cluster.replicas("eu-h100") == 4


def test_advisory_mode_writes_nothing_at_all(cluster, fleet, running, objects, wait_until):
    """An advisory operator decides and reports, and the API sees no write from it."""
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    made = running(advisory=True)
    wait_until(lambda: made.passes("done") > 3)
    assert any(record.plan.actions for record in read_audit(made.audit))
    assert made.operator.status().policies[0].doing.startswith("would be: ")
    assert cluster.replicas("eu-h100") == 4
    for resource in (cluster.config_maps, cluster.leases, cluster.events):
        assert [row["metadata"]["name"] for row in cluster.client.list(resource)["items"]] in ([], ["kube-root-ca.crt"])
    assert "status" not in cluster.client.get(cluster.policies, "images")


def test_an_advisory_policy_changes_neither_pools_nor_flags(cluster, fleet, running, wait_until):
    """A policy in advisory mode is decided and shown, and that is all."""
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object(mode="advisory"))
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    running()
    wait_until(lambda: str(status(cluster, cluster.policies, "images").get("doing")).startswith("would be: "))
    assert cluster.replicas("eu-h100") == 4 and limits(cluster) == ()


def test_replicas_follow_ready_nodes_unless_somebody_owns_them(cluster, running, objects, wait_until):
    """The workload gets its pods a node; with an HPA beside it, it is left alone and the pool says so."""
    cluster.deployment("images", 1)
    patch = {"spec": {"workload": {"name": "images", "podsPerNode": 2}}}
    cluster.client.merge_patch(cluster.pools, "eu-h100", patch)
    made = running()
    wait_until(lambda: cluster.replicas("images") == 8)
    made.operator.stop()
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "images"}
    scaler = {"metadata": {"name": "hpa"}, "spec": {"maxReplicas": 9, "scaleTargetRef": target}}
    cluster.create(cluster.resource("autoscaling/v1", "horizontalpodautoscalers"), scaler)
    cluster.client.merge_patch(cluster.deployments, "images", {"spec": {"replicas": 3}}, subresource="scale")
    running(identity="b")
    wait_until(lambda: condition(cluster, cluster.pools, "eu-h100", "Ready").get("reason") == "WorkloadHasOwner")
    assert cluster.replicas("images") == 3


def test_what_was_learned_survives_the_leader(cluster, fleet, running, objects, wait_until):
    """Lead times that one leader has seen are what the next one begins with, and pending orders with them."""
    order = PendingNodes(
        num_nodes=2, ordered_at=in_seconds(-60.0), expected_p50=in_seconds(240.0), expected_p95=in_seconds(540.0)
    )
    record = PoolRecord(pool="eu-h100", orders=(order,), lead_seconds=(310.0, 420.5), serving=4)
    fleet.learned = Learned(pools=(record,))
    first = running()
    wait_until(lambda: first.passes("done") >= 2)
    first.operator.stop()
    fleet.learned, fleet.restored = Learned(), Learned()
    running(identity="b")
    wait_until(lambda: fleet.restored != Learned(), timeout_seconds=25.0)
    assert fleet.restored == Learned(pools=(record,))


def test_an_unreadable_memory_is_a_careful_start(cluster, fleet, running, objects, wait_until):
    """Damaged state is reported and replaced; limits in force stay in force."""
    first = running()
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    wait_until(lambda: limits(cluster))
    first.operator.stop()
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.2, 1.0, 35.0
    patch = {"data": {"state.json": "{broken"}}
    cluster.client.merge_patch(cluster.config_maps, "images-meltguard-state", patch)
    running(identity="b")
    wait_until(lambda: condition(cluster, cluster.policies, "images", "Ready").get("reason") == "StateUnreadable")
    assert limits(cluster), "a lost memory must not lift limits"
    assert status(cluster, cluster.policies, "images")["highestRung"] >= 3


def test_a_deleted_policy_ends_in_order(cluster, fleet, running, objects, wait_until):
    """Deletion waits until limits have ended by themselves, then takes the state along and lets go."""
    cluster.client.merge_patch(cluster.policies, "images", {"spec": {"flagTtl": "30s"}})
    running()
    wait_until(lambda: cluster.client.get(cluster.policies, "images")["metadata"].get("finalizers"))
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    wait_until(lambda: limits(cluster))
    cluster.client.delete(cluster.policies, "images")
    wait_until(lambda: "limits end in stages" in str(status(cluster, cluster.policies, "images").get("doing")))
    revision = cluster.client.get(cluster.config_maps, "images-flags")["metadata"]["resourceVersion"]
    before = fleet.num_observed
    wait_until(lambda: status(cluster, cluster.policies, "images").get("conditions"))
    assert fleet.num_observed == before, "nobody plans for a policy that is to end"
    assert cluster.client.get(cluster.config_maps, "images-flags")["metadata"]["resourceVersion"] == revision


def test_a_deleted_policy_without_limits_goes_at_once(cluster, running, objects, wait_until):
    """With nothing to end, the finalizer is gone within a pass, and the state with it."""
    running()
    wait_until(lambda: cluster.client.get(cluster.policies, "images")["metadata"].get("finalizers"))
    cluster.client.delete(cluster.policies, "images")
    wait_until(lambda: not cluster.client.list(cluster.policies)["items"])
    names = {row["metadata"]["name"] for row in cluster.client.list(cluster.config_maps)["items"]}
    assert "images-meltguard-state" not in names
