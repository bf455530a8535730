"""`meltguard operator` as a process: addresses, probes, a clean end, a crash, and one line for what cannot work."""

import json
import subprocess
import sys

import pytest

from tests.operator_process import OperatorProcess
from tests.operator_samples import policy_object, pool_object

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def start(cluster):
    """Starts replicas and ends what is left of them."""
    started = []

    def run(*arguments, prometheus=NOBODY):
        kubeconfig = cluster.account.kubeconfig_at(cluster.control_plane.url)
        replica = OperatorProcess(kubeconfig, cluster.namespace, prometheus, "--period=500ms", *arguments)
        started.append(replica)
        return replica

    yield run
    for replica in started:
        if replica.process.poll() is None:
            replica.kill()


def test_it_serves_says_so_and_ends_in_order(cluster, start, wait_until):
    """One line names the addresses, the pages answer, SIGTERM gives the lease back and exits 0."""
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object(flags={"sync": {}}))
    replica = start()
    assert replica.listening["address"].startswith("127.0.0.1:") and not replica.listening["address"].endswith(":0")
    assert replica.listening["sync_address"].startswith("127.0.0.1:")
    wait_until(lambda: replica.get("/readyz") == (200, "leading\n"), timeout_seconds=30.0)
    assert replica.get("/healthz") == (200, "ok\n") == replica.get("/livez")
    wait_until(lambda: replica.status()["policies"])
    shown = replica.status()
    assert shown["schema"] == "meltguard.status/v1" and shown["leading"] is True
    # Without metrics nothing is fresh: the operator holds, and says what is missing.
    assert {problem["code"] for problem in shown["policies"][0]["problems"]} >= {"MetricsMissing"}
    metrics = replica.get("/metrics")[1]
    assert "meltguard_controller_leader 1.0" in metrics and "meltguard_controller_passes_total" in metrics
    assert "images" in replica.get("/")[1] and replica.get("/nowhere")[0] == 404
    assert sum('"event": "operator.ready"' in line for line in replica.errors) == 1
    assert replica.terminate() == 0
    lease = cluster.client.get(cluster.leases, "meltguard-operator")
    assert not lease["spec"].get("holderIdentity")
    assert cluster.replicas("eu-h100") == 4


def test_a_killed_replica_is_succeeded(cluster, start, wait_until):
    """After kill -9 another replica leads within lease plus retry, under a higher epoch, and goes on where it was."""
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    first = start()
    wait_until(lambda: first.status()["policies"], timeout_seconds=30.0)
    second = start()
    wait_until(lambda: second.get("/readyz") == (200, "standing by\n"), timeout_seconds=30.0)
    before = int(first.status()["policies"][0]["decision_id"].rpartition("-")[2])
    first.kill()
    wait_until(lambda: second.status()["policies"], timeout_seconds=25.0)
    shown = second.status()
    assert shown["epoch"] == 2
    assert int(shown["policies"][0]["decision_id"].rpartition("-")[2]) >= before
    assert second.terminate() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--prometheus", "nowhere"), "--prometheus"),
        (("--listen", "nowhere"), "--listen"),
        (("--kubeconfig", "/nonexistent/file"), "--kubeconfig"),
        (("--period", "soon"), "--period"),
    ],
)
def test_what_cannot_work_is_one_line(cluster, arguments, words):
    """A wrong option ends with exit code 2 and one line that names it."""
    kubeconfig = cluster.account.kubeconfig_at(cluster.control_plane.url)
    command = [sys.executable, "-m", "controller", "operator", "--listen=127.0.0.1:0", "--sync-listen=127.0.0.1:0"]
    command += [f"--kubeconfig={kubeconfig}", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if "error" in line and words in line]
    assert "Traceback" not in ended.stderr and ended.stdout == ""


def test_an_advisory_replica_needs_no_lease(cluster, start, wait_until):
    """With --advisory the command decides, reports on stdout, and writes nothing."""
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    replica = start("--advisory")
    wait_until(lambda: replica.status()["policies"], timeout_seconds=30.0)
    assert replica.status()["advisory"] is True and replica.listening["sync_address"] is None
    assert cluster.client.list(cluster.leases)["items"] == []
    assert replica.terminate() == 0
    kinds = {json.loads(line)["kind"] for line in replica.audit()}
    assert kinds == {"policy", "forecasts", "decision"}
