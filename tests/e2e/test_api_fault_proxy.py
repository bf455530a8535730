import pytest
import urllib3
from kubernetes import client, config

from tools.real_parts.credentials import write_kubeconfig
from tools.real_parts.fault_proxy import Fault, FaultKind


@pytest.fixture
def core(api_fault_proxy, control_plane, tmp_path):
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api_fault_proxy.url, control_plane.credentials)
    with config.new_client_from_config(config_file=str(kubeconfig)) as api_client:
        yield client.CoreV1Api(api_client)


def test_the_api_works_through_the_proxy(core):
    """With the proxy's kubeconfig, reads and writes reach the real API over TLS."""
    core.create_namespaced_config_map("default", {"metadata": {"name": "through-proxy"}, "data": {"a": "1"}})

    assert core.read_namespaced_config_map("through-proxy", "default").data == {"a": "1"}


def test_an_injected_conflict_looks_like_the_apis_own(core, api_fault_proxy):
    """The official client reads an injected 409 as it reads a real one."""
    api_fault_proxy.inject(Fault(kind=FaultKind.STATUS, status=409, method="POST", path="/configmaps", times=1))

    with pytest.raises(client.ApiException) as refused:
        core.create_namespaced_config_map("default", {"metadata": {"name": "never"}})

    assert (refused.value.status, refused.value.reason) == (409, "Conflict")
    names = [item.metadata.name for item in core.list_namespaced_config_map("default").items]
    assert "never" not in names


def test_a_real_watch_can_be_truncated(core, api_fault_proxy):
    """A watch on the real API delivers events through the proxy, then breaks in the middle of one."""
    core.create_namespaced_config_map("default", {"metadata": {"name": "watched"}})
    api_fault_proxy.inject(Fault(kind=FaultKind.TRUNCATE, path="watch=", after_bytes=100))
    response = core.list_namespaced_config_map("default", watch=True, _preload_content=False, _request_timeout=30)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        list(response.stream())
    response.close()
