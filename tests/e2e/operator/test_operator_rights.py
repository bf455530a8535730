"""Least privilege: the operator works with exactly the verbs of its manifest, and says which one is missing."""

import base64
import copy
import json
from pathlib import Path

import pytest
import yaml

from controller.operator.kubernetes.resources import Resource
from tests.operator_fakes import FakeFleet, make_operator
from tests.operator_samples import policy_object, pool_object

MANIFEST = Path(__file__).parents[3] / "manifests" / "base" / "operator" / "rbac.yaml"
RBAC = "rbac.authorization.k8s.io/v1"
CLUSTER_ROLES = Resource(api_version=RBAC, plural="clusterroles")
CLUSTER_BINDINGS = Resource(api_version=RBAC, plural="clusterrolebindings")


def documents():
    """Return the objects of the manifest by kind and name."""
    return {(row["kind"], row["metadata"]["name"]): row for row in yaml.safe_load_all(MANIFEST.read_text())}


class Account:
    """The operator's service account in one namespace, with rights that tests may cut."""

    def __init__(self, cluster, directory):
        self.cluster = cluster
        self.roles = cluster.resource(RBAC, "roles")
        self.documents = documents()
        name = "meltguard-operator"
        account = cluster.create(
            cluster.resource("v1", "serviceaccounts"),
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        )
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        path = cluster.resource("v1", "serviceaccounts").path(account["metadata"]["name"], "token")
        token = cluster.client.request("POST", path, body=request)["status"]["token"]
        subject = [{"kind": "ServiceAccount", "name": name, "namespace": cluster.namespace}]
        for (kind, own), row in documents().items():
            body = copy.deepcopy(row)
            if kind == "Role":
                cluster.create(self.roles, body)
            elif kind == "RoleBinding":
                cluster.create(cluster.resource(RBAC, "rolebindings"), {**body, "subjects": subject})
            elif own == "meltguard-operator-nodes":
                # These have no namespace, so each test has its own.
                body["metadata"]["name"] = f"{own}-{cluster.namespace}"
                resource = CLUSTER_ROLES if kind == "ClusterRole" else CLUSTER_BINDINGS
                if kind == "ClusterRoleBinding":
                    body |= {"subjects": subject}
                    body["roleRef"]["name"] = body["metadata"]["name"]
                cluster.client.create(resource, body)
        authority = base64.b64encode(cluster.control_plane.credentials.authority.read_bytes()).decode()
        self.kubeconfig = directory / "account"
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": "c",
                            "cluster": {"server": cluster.control_plane.url, "certificate-authority-data": authority},
                        }
                    ],
                    "users": [{"name": "u", "user": {"token": token}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )

    def take_away(self, resource, verb):
        """Take one verb on one resource away."""
        for (kind, name), body in self.documents.items():
            if not any(resource in rule["resources"] and verb in rule["verbs"] for rule in body.get("rules", [])):
                continue
            rules = []
            for rule in body["rules"]:
                others = [entry for entry in rule["resources"] if entry != resource]
                rules += [{**rule, "resources": others}] if others else []
                if resource in rule["resources"]:
                    rules.append(
                        {**rule, "resources": [resource], "verbs": [v for v in rule["verbs"] if v != verb] or ["none"]}
                    )
            body["rules"] = rules
            if kind == "Role":
                self.cluster.client.merge_patch(self.roles, name, {"rules": rules})
            else:
                self.cluster.client.merge_patch(CLUSTER_ROLES, f"{name}-{self.cluster.namespace}", {"rules": rules})
            return
        raise AssertionError(f"the manifest does not grant {verb} on {resource}")


@pytest.fixture
def account(cluster, tmp_path):
    """The service account with all its rights."""
    return Account(cluster, tmp_path)


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
def running(cluster, account, hot):
    """Starts the operator as its service account."""
    started = []

    def start():
        made = make_operator(cluster, hot, kubeconfig=account.kubeconfig)
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
        ["surgepolicies get", "gpupools get", "deployments/scale get"],
        ["deployments get"],
        ["horizontalpodautoscalers list"],
    ],
    ids=lambda missing: missing[0].replace(" ", "-"),
)
def test_a_missing_verb_is_named(account, running, wait_until, missing):
    """Whichever verbs are taken away, the operator goes on with the rest and names what it may not do."""
    for right in missing:
        account.take_away(*right.split())
    made = running()

    def unnamed():
        told = problems(made)
        return [right for right in missing if right.split()[0].partition("/")[0] not in told or "403" not in told]

    try:
        wait_until(lambda: not unnamed(), timeout_seconds=20.0)
    except AssertionError:
        pytest.fail(f"not named: {unnamed()}; told: {problems(made)}")
    assert made.passes("defect") == 0
