"""`meltguard init` and `meltguard doctor` as a person runs them, against a real API and a real Prometheus."""

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from controller.operator.checkup.cluster import check_api, check_definitions
from controller.operator.checkup.findings import Verdict
from controller.operator.kubernetes.resources import Resource
from tests.operator_samples import policy_object, pool_object

NODES = Resource(api_version="v1", plural="nodes")


def meltguard(*arguments, kubeconfig):
    """Run the command."""
    command = [sys.executable, "-m", "controller", *arguments, f"--kubeconfig={kubeconfig}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def kubeconfig(cluster):
    """An administrator's kubeconfig."""
    return cluster.kubeconfig_at(cluster.control_plane.url)


@pytest.fixture
def gpu_nodes(cluster):
    """Two GPU nodes whose pool is named after the test's namespace, so that no other test's is meant."""
    names = [f"{cluster.namespace}-{index}" for index in range(2)]
    labels = {"karpenter.sh/nodepool": cluster.namespace, "topology.kubernetes.io/region": "eu-west-1"}
    for name in names:
        body = {
            "metadata": {"name": name, "labels": {**labels, "nvidia.com/gpu.product": "NVIDIA-H200"}},
            "status": {"capacity": {"nvidia.com/gpu": "8"}, "allocatable": {"nvidia.com/gpu": "8"}},
        }
        cluster.client.create(NODES, body)
    yield names
    for name in names:
        cluster.client.delete(NODES, name)


def test_what_init_writes_the_api_accepts(cluster, kubeconfig, gpu_nodes, tmp_path):
    """The file holds a pool for every group of GPU nodes; the real API takes each object; it is never overwritten."""
    path = tmp_path / "start.yaml"
    done = meltguard("init", str(path), f"--namespace={cluster.namespace}", kubeconfig=kubeconfig)
    assert done.returncode == 0, done.stderr
    rows = list(yaml.safe_load_all(path.read_text()))
    mine = next(row for row in rows if row["metadata"]["name"] == cluster.namespace)
    assert mine["spec"]["minNodes"] == 2 and mine["spec"]["gpuModel"] == "NVIDIA-H200"
    for row in rows:
        cluster.create(cluster.pools if row["kind"] == "GPUPool" else cluster.policies, row)

    before = path.read_text()
    again = meltguard("init", str(path), kubeconfig=kubeconfig)
    assert again.returncode == 2 and "never overwrites" in again.stderr and path.read_text() == before


@pytest.mark.parametrize("option", ["--namespace=No Name", "--name=../x"])
def test_init_takes_names_only(kubeconfig, option, tmp_path):
    """A name that the API would refuse, or that could write more than itself, is a usage error."""
    done = meltguard("init", str(tmp_path / "start.yaml"), option, kubeconfig=kubeconfig)
    assert done.returncode == 2 and option.partition("=")[0] in done.stderr and "Traceback" not in done.stderr


class FakeFleetMetrics:
    """A server that answers instant queries as a Prometheus would that scrapes a small healthy fleet."""

    def __init__(self, pool):
        now = datetime.now(UTC).timestamp()
        pairs = [{"region": "eu", "tier": tier} for tier in ("free", "paid")]
        self.answers = {
            "meltguard_gpu_thermal_margin": [({"pool": pool}, now)],
            "meltguard_inference_ready": [({"pool": pool}, now)],
            "meltguard_inference_requests_received": [(pair, 1.0) for pair in pairs],
            "meltguard_flags_revision": [({"pod": "a"}, 0.0), ({"pod": "b"}, 0.0)],
            "meltguard_exporter_build_info": [],
        }
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                rows = next((rows for name, rows in outer.answers.items() if name in self.path), [])
                result = [{"metric": labels, "value": [now, str(value)]} for labels, value in rows]
                body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Keep the test output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def fleet_metrics():
    """Metrics of a healthy fleet of one pool, `eu-h100`."""
    served = FakeFleetMetrics("eu-h100")
    yield served
    served.server.shutdown()
    served.server.server_close()
    served.thread.join(10.0)


def examined(cluster, kubeconfig, *arguments):
    """Return the exit code and the findings of doctor."""
    done = meltguard("doctor", f"--namespace={cluster.namespace}", "--output=json", *arguments, kubeconfig=kubeconfig)
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "meltguard.doctor/v1" and document["healthy"] == (done.returncode == 0)
    return done.returncode, document["findings"]


def test_a_sound_installation_passes(cluster, kubeconfig, fleet_metrics):
    """With objects, rights, metrics and consumers in order nothing fails, and the exit code is 0."""
    cluster.deployment("eu-h100", 2)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    code, findings = examined(cluster, kubeconfig, "--self", f"--prometheus={fleet_metrics.url}")
    serious = [row for row in findings if row["verdict"] in ("failed", "unknown")]
    assert (code, serious) == (0, [])
    assert {row["check"] for row in findings} >= {"clock", "version", "definition", "objects", "rights", "metrics"}


def test_every_finding_says_what_to_do(cluster, kubeconfig, fleet_metrics):
    """No rights, no metrics of the pool, consumers that are behind, a pool that cannot be used: each has a cure."""
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    stored = {"metadata": {"name": "images-flags"}, "data": {"flags.json": json.dumps({"metadata": {"revision": 7}})}}
    cluster.create(cluster.config_maps, stored)
    fleet_metrics.answers["meltguard_gpu_thermal_margin"] = [({"pool": "eu-h100"}, 1.0)]
    code, findings = examined(cluster, kubeconfig, f"--prometheus={fleet_metrics.url}")

    assert code == 1
    bad = [row for row in findings if row["verdict"] != "good"]
    assert all(row["cure"] for row in bad)
    failed = {row["check"]: row["text"] for row in bad if row["verdict"] == "failed"}
    assert "may not" in failed["rights"] and "the newest is" in failed["metrics"]
    assert failed["flags"] == "2 of 2 consumers hold less than revision 7"
    denied = [row["text"] for row in bad if row["check"] == "rights"]
    assert any("patch deployments/scale.apps" in text for text in denied)
    assert any("watch nodes" in text for text in denied)


def test_without_an_api_doctor_says_so(cluster, tmp_path, fleet_metrics):
    """An address where nobody answers is one failed finding, not a traceback."""
    kubeconfig = cluster.kubeconfig_at("https://127.0.0.1:9")
    done = meltguard("doctor", kubeconfig=kubeconfig)
    assert done.returncode == 1 and "do: check --kubeconfig" in done.stdout and "Traceback" not in done.stderr


def test_a_clock_that_is_off_fails(cluster):
    """A clock that differs by more than two seconds from the API's is a failure, either way; less is none."""

    def verdict(seconds):
        findings = check_api(cluster.client, datetime.now(UTC) + timedelta(seconds=seconds))
        return next(finding.verdict for finding in findings if finding.check == "clock")

    assert verdict(0.0) is Verdict.GOOD
    assert verdict(30.0) is verdict(-30.0) is Verdict.FAILED


class OldDefinitions:
    """A client of a cluster whose definitions lack one field of this version."""

    def __init__(self, client):
        self._client = client

    def get(self, resource, name):
        """Return a definition without `spec.mode`."""
        found = self._client.get(resource, name)
        for version in found["spec"]["versions"]:
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].pop("mode", None)
        return found


def test_definitions_of_another_version_are_named(cluster):
    """A definition that lacks a field of this version fails with the field's name; the present ones do not."""
    assert {finding.verdict for finding in check_definitions(cluster.client)} == {Verdict.GOOD}
    old = {finding.subject: finding for finding in check_definitions(OldDefinitions(cluster.client))}
    finding = old["surgepolicies.meltguard.dev"]
    assert finding.verdict is Verdict.FAILED and "spec.mode" in finding.text and "apply" in finding.cure
