"""The Kubernetes client against the real API and the fault proxy: every failure is typed and takes bounded time."""

import subprocess
import time

import pytest

from controller.operator.kubernetes import errors
from controller.operator.kubernetes.resources import Resource
from tests.operator_samples import policy_object, pool_object
from tools.real_parts.fault_proxy import Fault, FaultKind


def test_a_stale_version_is_a_conflict(cluster):
    """A patch that names a version that is no longer current is refused by the API itself."""
    made = cluster.deployment("images", 2)
    version = made["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": 4}}
    cluster.client.merge_patch(cluster.deployments, "images", patch, subresource="scale")

    with pytest.raises(errors.ConflictError):
        cluster.client.merge_patch(cluster.deployments, "images", patch, subresource="scale")
    assert cluster.replicas("images") == 4


def test_a_kind_is_looked_up_once(cluster, api_fault_proxy):
    """The plural of a kind comes from the API, and an unknown kind says what to do."""
    client = cluster.client_at(api_fault_proxy.url)
    found = client.resource("apps/v1", "Deployment", cluster.namespace)
    assert found == Resource(api_version="apps/v1", plural="deployments", namespace=cluster.namespace)
    api_fault_proxy.inject(Fault(kind=FaultKind.DROP))
    assert client.resource("apps/v1", "Deployment", "other").namespace == "other"
    api_fault_proxy.clear()
    with pytest.raises(errors.MissingError, match="no MachineSet"):
        client.resource("apps/v1", "MachineSet")


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        (Fault(kind=FaultKind.STATUS, status=409), errors.ConflictError, 409),
        (Fault(kind=FaultKind.STATUS, status=410), errors.ExpiredError, 410),
        (Fault(kind=FaultKind.STATUS, status=429), errors.ThrottledError, 429),
        (Fault(kind=FaultKind.STATUS, status=403), errors.ForbiddenError, 403),
        (Fault(kind=FaultKind.STATUS, status=422), errors.RefusedError, 422),
        (Fault(kind=FaultKind.STATUS, status=500), errors.ServerFailedError, 500),
        (Fault(kind=FaultKind.DROP), errors.UnreachableError, None),
        (Fault(kind=FaultKind.LOSE_ANSWER), errors.UnreachableError, None),
        (Fault(kind=FaultKind.TRUNCATE, after_bytes=20), errors.UnreachableError, None),
        (Fault(kind=FaultKind.HANG), errors.UnreachableError, None),
    ],
    ids=lambda value: str(getattr(value, "kind", value)),
)
def test_every_failure_has_its_type(cluster, api_fault_proxy, fault, kind, status):
    """What went wrong is told by the error's class, within the time limits of the request."""
    client = cluster.client_at(api_fault_proxy.url, read_seconds=0.5)
    client.list(cluster.config_maps)
    api_fault_proxy.inject(fault)
    began = time.monotonic()
    with pytest.raises(kind) as raised:
        client.list(cluster.config_maps)
    assert type(raised.value) is kind
    assert raised.value.status == status
    assert time.monotonic() - began < 5.0
    assert "configmaps" in str(raised.value)


def test_the_adapters_view_never_raises(cluster, api_fault_proxy):
    """`call` turns every failure into a status; no answer is status 0."""
    client = cluster.client_at(api_fault_proxy.url)
    assert client.call("GET", cluster.config_maps.path()).ok
    api_fault_proxy.inject(Fault(kind=FaultKind.STATUS, status=409, times=1))
    assert client.call("GET", cluster.config_maps.path()).status == 409
    api_fault_proxy.inject(Fault(kind=FaultKind.DROP))
    assert client.call("GET", cluster.config_maps.path()).status == 0


def test_the_api_takes_and_completes_our_objects(cluster):
    """Defaults come from the schema, what the schema refuses is refused with the field's name."""
    pool = cluster.create(cluster.pools, pool_object())
    assert pool["spec"]["paused"] == "none" and pool["spec"]["initDeadline"] == "30m"
    policy = cluster.create(cluster.policies, policy_object())
    assert policy["spec"]["limits"]["maxRegionsDisabled"] == 1 and policy["spec"]["mode"] == "active"
    with pytest.raises(errors.RefusedError, match=r"spec\.maxNodes"):
        cluster.create(cluster.pools, pool_object("broken", maxNodes=0))
    with pytest.raises(errors.RefusedError, match=r"spec\.regions"):
        cluster.create(cluster.policies, policy_object("broken", regions=[]))


def test_kubectl_shows_how_hot_how_near_and_what_is_done(cluster):
    """`kubectl get surge,gpool -o wide` has the columns that an on-call person asks for."""
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    body = {"apiVersion": "meltguard.dev/v1alpha1", "kind": "GPUPool", "metadata": {"name": "eu-h100"}}
    body["status"] = {"doing": "growing to 6 nodes", "thermal": {"minMarginCelsius": 4.5, "secondsToSlowdown": 240}}
    cluster.client.apply(cluster.pools, "eu-h100", body, subresource="status", force=True)
    kubeconfig = cluster.kubeconfig_at(cluster.control_plane.url)
    command = ["kubectl", f"--kubeconfig={kubeconfig}", "-n", cluster.namespace, "get", "surge,gpool", "-o", "wide"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    lines = {line.split()[0]: line for line in shown.splitlines() if line}
    assert "growing to 6 nodes" in lines["gpupool.meltguard.dev/eu-h100"]
    assert "4.5" in lines["gpupool.meltguard.dev/eu-h100"] and "240" in lines["gpupool.meltguard.dev/eu-h100"]
    assert "MARGIN" in shown and "DOING" in shown and "RUNG" in shown and "SLOWDOWN-IN" in shown
