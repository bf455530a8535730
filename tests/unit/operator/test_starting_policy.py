"""`meltguard init`: from the nodes of each kind of cluster to objects that our own parser takes."""

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given

from controller.operator.entries import policy_entry, pool_entry
from controller.operator.start.document import starting_text
from controller.operator.start.inventory import as_name, find_pools, find_prometheus

EU = {"topology.kubernetes.io/region": "eu-west-1"}


def node(labels, *, annotations=None, gpus="8", name="n"):
    """Return a Node as the API keeps it."""
    return {
        "metadata": {"name": name, "labels": {**EU, **labels}, "annotations": annotations or {}},
        "status": {"capacity": {"nvidia.com/gpu": gpus, "cpu": "96"}},
    }


def written(nodes, prometheus=()):
    """Return the pools and the policy that init would write for some nodes."""
    text = starting_text(find_pools(nodes), prometheus, namespace="meltguard-system", policy="images")
    rows = list(yaml.safe_load_all(text))
    return [row for row in rows if row["kind"] == "GPUPool"], rows[-1], text


PROVIDERS = {
    "eks": (
        {"eks.amazonaws.com/nodegroup": "h100", "alpha.eksctl.io/cluster-name": "prod"},
        None,
        {"eks": {"cluster": "prod", "nodegroup": "h100"}},
    ),
    "karpenter": (
        {"karpenter.sh/nodepool": "gpu"},
        None,
        {"scale": {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "name": "gpu"}},
    ),
    "gke": ({"cloud.google.com/gke-nodepool": "a3"}, None, {"gke": {"nodePool": "a3"}}),
    "aks": ({"kubernetes.azure.com/agentpool": "nd96"}, None, {"aks": {"agentPool": "nd96"}}),
    "cluster-api": (
        {},
        {
            "cluster.x-k8s.io/owner-kind": "MachineSet",
            "cluster.x-k8s.io/owner-name": "gpu-md-0-5d8f9c",
            "cluster.x-k8s.io/cluster-namespace": "fleet",
        },
        {
            "scale": {
                "apiVersion": "cluster.x-k8s.io/v1beta1",
                "kind": "MachineDeployment",
                "name": "gpu-md-0",
                "namespace": "fleet",
            }
        },
    ),
    "plain": (
        {"nvidia.com/gpu.product": "NVIDIA-H200"},
        None,
        {"scale": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "change-me"}},
    ),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_provider_becomes_its_target(provider):
    """The nodes of each provider become one pool whose target that provider resizes; unknown owners are paused."""
    labels, annotations, target = PROVIDERS[provider]
    pools, policy, text = written([node(labels, annotations=annotations, name=f"n{index}") for index in range(3)])

    assert len(pools) == 1
    spec = pools[0]["spec"]
    assert spec["target"] == target and spec["region"] == "eu-west-1" and spec["gpusPerNode"] == 8
    assert (spec["minNodes"], spec["maxNodes"]) == (3, 4)
    assert ("paused" in spec) == (provider == "plain")
    assert policy["spec"]["mode"] == "advisory" and policy["spec"]["regions"] == [{"name": "eu-west-1"}]
    assert text.count("#") > 10, "every number that is a guess is explained"


def test_nodes_without_gpus_are_nobody():
    """A cluster without GPUs has no pool, however many nodes it has."""
    assert find_pools([node({}, gpus="0"), {"metadata": {}, "status": {}}, {}]) == ()


def test_one_group_in_two_regions_is_two_pools():
    """A pool stands in one region; groups of one name in two regions get names that differ."""
    other = {"topology.kubernetes.io/region": "us-east-1"}
    pools, policy, _ = written(
        [node({"karpenter.sh/nodepool": "gpu"}), node({"karpenter.sh/nodepool": "gpu", **other})]
    )
    assert [pool["metadata"]["name"] for pool in pools] == ["gpu", "gpu-2"]
    assert [region["name"] for region in policy["spec"]["regions"]] == ["eu-west-1", "us-east-1"]


def test_prometheus_is_found_by_name_and_port():
    """Services that are called Prometheus and listen at 9090 are named in the text, the likeliest first."""

    def service(name, port=9090, labels=None):
        metadata = {"name": name, "namespace": "monitoring", "labels": labels or {}}
        return {"metadata": metadata, "spec": {"ports": [{"port": port}]}}

    found = find_prometheus(
        [
            service("my-prometheus-x"),
            service("web"),
            service("k8s", labels={"app": "prometheus"}),
            service("prometheus", 80),
        ]
    )
    assert found == ("http://k8s.monitoring:9090", "http://my-prometheus-x.monitoring:9090")
    assert found[0] in written([node({})], found)[2]


HOSTILE = st.text(max_size=80)


@given(model=HOSTILE, group=HOSTILE, region=HOSTILE, key=st.sampled_from(sorted(PROVIDERS)))
def test_no_label_can_write_more_than_its_value(model, group, region, key):
    """Whatever labels hold (quotes, line breaks, YAML), the objects stay two, of our kinds, and usable."""
    labels, annotations, _ = PROVIDERS[key]
    labels = dict.fromkeys(labels, group) | {"nvidia.com/gpu.product": model}
    entry = node(labels, annotations=annotations)
    entry["metadata"]["labels"]["topology.kubernetes.io/region"] = region
    pools, policy, text = written([entry])

    assert [row["kind"] for row in yaml.safe_load_all(text)] == ["GPUPool", "SurgePolicy"]
    assert policy_entry(policy).problem == "" == pool_entry(pools[0]).problem
    kept = "".join(letter for letter in model if letter.isascii() and letter.isprintable())
    assert pools[0]["spec"]["gpuModel"] == kept


@given(st.text(max_size=200))
def test_a_name_is_always_one(text):
    """Whatever it is made of, a name has 1 to 63 lower-case letters, digits and dashes, none of them at an end."""
    name = as_name(text)
    assert 1 <= len(name) <= 63 and name == as_name(name)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and name[0] != "-" != name[-1]
