"""What people do: each command writes one annotation that kubectl can write as well, and the operator obeys it."""

import json
import subprocess

import pytest
import structlog
from typer.testing import CliRunner

from controller.cli.main import build_app
from controller.errors import UsageError
from tests.operator_fakes import FakeFleet, make_operator
from tests.operator_samples import policy_object, pool_object


@pytest.fixture
def run(cluster):
    """Runs a command of ours in this process against the cluster."""
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    place = [f"--kubeconfig={cluster.kubeconfig_at(cluster.control_plane.url)}", f"--namespace={cluster.namespace}"]

    def command(name, *arguments, output="json"):
        result = CliRunner().invoke(build_app(), [name, *arguments, *place, "--output", output])
        structlog.reset_defaults()  # the command logged to a stream of the runner, which is closed now
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return json.loads(result.stdout) if output == "json" else result.stdout

    return command


def annotations(cluster, resource, name):
    return cluster.client.get(resource, name)["metadata"].get("annotations") or {}


def config_map_names(cluster):
    return {row["metadata"]["name"] for row in cluster.client.list(cluster.config_maps)["items"]}


def test_orders_become_annotations(cluster, run):
    """Each command sets, or takes away, exactly the annotation that it names."""
    run("pause", "surge/images", "--direction", "scaleOut")
    assert annotations(cluster, cluster.policies, "images") == {"meltguard.dev/paused": "scaleOut"}
    run("resume", "surge/images")
    assert annotations(cluster, cluster.policies, "images") == {}
    run("pause", "gpool/eu-h100")
    assert annotations(cluster, cluster.pools, "eu-h100") == {"meltguard.dev/paused": "all"}
    given = run("limit", "images", "--region=eu", "--rung=4", "--reason=load test", "--for=10m", "--by=alice")
    assert given["value"].startswith("rung=4 until=") and given["value"].endswith("by=alice reason=load test")
    run("approve", "images", "--region=eu")
    run("resume", "surge/images", "--breaker=eu")
    assert set(annotations(cluster, cluster.policies, "images")) == {
        "limit.meltguard.dev/eu",
        "approve.meltguard.dev/eu",
        "breaker-reset.meltguard.dev/eu",
    }
    run("lift", "images", "--region=eu", "--automatic")
    assert "limit.meltguard.dev/eu" not in annotations(cluster, cluster.policies, "images")


def test_a_dry_run_changes_nothing(cluster, run):
    """With --dry-run the API checks the order and keeps nothing of it."""
    told = run("pause", "surge/images", "--dry-run", output="text")
    assert told.startswith("surge/images: would set meltguard.dev/paused to all")
    assert annotations(cluster, cluster.policies, "images") == {}


def test_kubectl_alone_can_do_the_same(cluster, run):
    """The kubectl line that a command prints does what the command did."""
    line = run("limit", "images", "--region=eu", "--rung=4", "--reason=drill", "--dry-run")["kubectl"]
    kubeconfig = cluster.kubeconfig_at(cluster.control_plane.url)
    done = subprocess.run(
        ["bash", "-c", line.replace("kubectl", f"kubectl --kubeconfig={kubeconfig}", 1)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert annotations(cluster, cluster.policies, "images")["limit.meltguard.dev/eu"].endswith("reason=drill")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pause", "pool/eu-h100"), "name surge/POLICY or gpool/POOL"),
        (("pause", "surge/nobody"), "surge/nobody: not found"),
        (("limit", "images", "--region=mars", "--rung=4", "--reason=x"), "has no region 'mars'; it has eu"),
        (("limit", "images", "--region=eu", "--rung=9", "--reason=x"), "--rung: 9 is no rung"),
        (("limit", "images", "--region=eu", "--rung=4", "--reason= "), "--reason: say why"),
        (("approve", "images", "--region=eu", "--for=90d"), "--for"),
        (("explain", "d-unknown", "--live"), "decision d-unknown: not among the 0"),
    ],
)
def test_a_wrong_order_is_refused_with_a_cure(run, arguments, words):
    """Nothing is written for an order that cannot be meant."""
    with pytest.raises(UsageError, match=words):
        run(*arguments)


def test_a_decision_can_be_explained_live(cluster, run, wait_until):
    """`explain --live` tells of the last decision what it rested on, what it did, and what would change it."""
    fleet = FakeFleet()
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    made = make_operator(cluster, fleet)
    made.operator.start()
    try:
        wait_until(lambda: any(name.endswith("-decisions") for name in config_map_names(cluster)))
    finally:
        made.operator.stop()
    document = run("explain", "last", "--live")
    assert document["actions"] and document["num_inputs"] > 0 and document["alternatives"]
    told = run("explain", document["decision_id"], "--live", output="text")
    for words in (document["decision_id"], "done:", "rejected:", "what would change it:", "inputs ("):
        assert words in told
