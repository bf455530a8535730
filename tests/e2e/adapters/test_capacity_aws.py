"""Node groups of AWS against moto's server, which proves the shapes of calls and answers; limits are checked by us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from controller.adapters.capacity.aws import AwsAdapter, launch_failure
from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.ports import ApiAnswer, JsonObject, PoolSize, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import AsgTarget, EksTarget, PoolTarget
from controller.types import Ownership, PoolCondition
from tests.planning_samples import NOW

pytestmark = pytest.mark.real_parts

ASG = AsgTarget(name="gpu")
IMAGE = "ami-12c6146b"
EKS = EksTarget(cluster="serving", nodegroup="gpu")


class NoKubernetes:
    """A Kubernetes API that node groups never ask."""

    def call(
        self, method: str, path: str, *, body: JsonObject | None = None, content_type: str = "application/json"
    ) -> ApiAnswer:
        """Answer nothing."""
        del method, path, body, content_type
        return ApiAnswer(status=0, body={})


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Moto's server on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def clients(endpoint: str) -> dict[str, Any]:
    """Clients of one account; made once, which takes longest."""
    session = boto3.session.Session("testing", "testing", region_name="us-east-1")
    return {name: session.client(name, endpoint_url=endpoint) for name in ("eks", "autoscaling", "ec2")}


@pytest.fixture
def groups(clients: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An Auto Scaling group and a managed node group, each of three nodes within one and eight."""
    subnet = clients["ec2"].describe_subnets()["Subnets"][0]["SubnetId"]
    scaling = clients["autoscaling"]
    scaling.create_launch_configuration(LaunchConfigurationName="gpu", ImageId=IMAGE, InstanceType="p5.48xlarge")
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="gpu",
        LaunchConfigurationName="gpu",
        MinSize=1,
        MaxSize=8,
        DesiredCapacity=3,
        VPCZoneIdentifier=subnet,
    )
    role = "arn:aws:iam::123456789012:role/nodes"
    clients["eks"].create_cluster(name="serving", roleArn=role, resourcesVpcConfig={"subnetIds": [subnet]})
    clients["eks"].create_nodegroup(
        clusterName="serving",
        nodegroupName="gpu",
        scalingConfig={"minSize": 1, "maxSize": 8, "desiredSize": 3},
        subnets=[subnet],
        nodeRole=role,
    )
    yield clients
    clients["eks"].delete_nodegroup(clusterName="serving", nodegroupName="gpu")
    clients["eks"].delete_cluster(name="serving")
    scaling.delete_auto_scaling_group(AutoScalingGroupName="gpu", ForceDelete=True)
    scaling.delete_launch_configuration(LaunchConfigurationName="gpu")


@pytest.fixture
def capacity(groups: dict[str, Any]) -> ClusterCapacity:
    """The port under test."""
    return ClusterCapacity(NoKubernetes(), AwsAdapter(lambda service: groups[service]))


def pool_of(target: AsgTarget | EksTarget, ownership: Ownership = Ownership.DESIRED) -> PoolTarget:
    """Return a pool of up to twenty nodes."""
    return PoolTarget(
        pool="r0-h", region="r0", target=target, ownership=ownership, min_nodes=0, max_nodes=20, gpus_per_node=8
    )


def read(capacity: ClusterCapacity, pool: PoolTarget) -> PoolSize:
    """Read a pool that answers."""
    size = capacity.read(pool, NOW).value
    assert size is not None
    return size


def order(capacity: ClusterCapacity, pool: PoolTarget, to_nodes: int, **changes: object) -> SizeReceipt:
    """Read, then order."""
    one = SizeOrder(
        pool=pool,
        to_nodes=to_nodes,
        ownership=pool.ownership,
        decision_id="d-1",
        epoch=1,
        revision=read(capacity, pool).revision,
    )
    return capacity.set_size(replace(one, **changes), NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [ASG, EKS])
def test_a_node_group_is_resized_and_gets_a_floor(capacity, groups, target) -> None:
    """Size and floor are written where the ownership says, once, and within the group's own bounds."""
    desired, floor = pool_of(target), pool_of(target, Ownership.FLOOR)
    assert read(capacity, desired).desired == 3

    assert order(capacity, desired, 5).wrote
    assert not order(capacity, desired, 5).wrote
    assert order(capacity, floor, 4).wrote
    outside = order(capacity, desired, 9)

    assert (read(capacity, desired).desired, read(capacity, floor).written) == (5, 4)
    assert outside.outcome is WriteOutcome.REJECTED
    assert "4 to 8" in outside.text


def test_a_floor_above_the_size_lifts_an_eks_size_with_it(capacity, groups) -> None:
    """EKS refuses a floor above the size, so the size is lifted in the same call."""
    assert order(capacity, pool_of(EKS, Ownership.FLOOR), 6).wrote

    config = groups["eks"].describe_nodegroup(clusterName="serving", nodegroupName="gpu")["nodegroup"]["scalingConfig"]
    assert config == {"minSize": 6, "maxSize": 8, "desiredSize": 6}


@pytest.mark.parametrize("target", [ASG, EKS])
def test_an_order_on_an_old_read_is_a_conflict(capacity, target) -> None:
    """When the group is no longer as it was read, the order is not sent."""
    revision = read(capacity, pool_of(target)).revision
    order(capacity, pool_of(target), 4)

    assert order(capacity, pool_of(target), 6, revision=revision).outcome is WriteOutcome.CONFLICT


def test_a_group_of_cluster_autoscaler_is_foreign(capacity, groups) -> None:
    """The tag by which cluster-autoscaler finds its groups makes the size foreign; the floor stays ours to write."""
    tag = {"ResourceId": "gpu", "ResourceType": "auto-scaling-group", "Value": "true", "PropagateAtLaunch": False}
    groups["autoscaling"].create_or_update_tags(Tags=[{**tag, "Key": "k8s.io/cluster-autoscaler/enabled"}])

    assert PoolCondition.FOREIGN_OWNER in read(capacity, pool_of(ASG)).conditions
    assert order(capacity, pool_of(ASG), 5).outcome is WriteOutcome.FOREIGN_OWNER
    assert order(capacity, pool_of(ASG, Ownership.FLOOR), 2).outcome is WriteOutcome.DONE


def test_suspended_launches_are_a_pause(capacity, groups) -> None:
    """A group whose launches somebody suspended is paused."""
    groups["autoscaling"].suspend_processes(AutoScalingGroupName="gpu", ScalingProcesses=["Launch"])
    assert PoolCondition.PAUSED in read(capacity, pool_of(ASG)).conditions


@pytest.mark.parametrize("target", [AsgTarget(name="lost"), EksTarget(cluster="serving", nodegroup="lost")])
def test_a_group_that_is_not_there_is_named(capacity, target) -> None:
    """A group that does not exist is of unknown size and refuses orders by name."""
    assert read(capacity, pool_of(target)).desired is None
    receipt = order(capacity, pool_of(target), 2)
    assert receipt.outcome is WriteOutcome.REJECTED
    assert "lost" in receipt.text


def test_an_account_that_does_not_answer_is_absent() -> None:
    """Without an answer of AWS the pool is absent, and an order says that nobody knows."""
    session = boto3.session.Session("x", "y", region_name="us-east-1")
    config = boto3.session.Config(connect_timeout=0.2, retries={"max_attempts": 0})
    silent = AwsAdapter(lambda service: session.client(service, endpoint_url="http://127.0.0.1:9", config=config))
    capacity = ClusterCapacity(NoKubernetes(), silent)

    assert capacity.read(pool_of(EKS), NOW).value is None
    one = SizeOrder(pool=pool_of(EKS), to_nodes=2, ownership=Ownership.DESIRED, decision_id="d", epoch=1)
    assert capacity.set_size(one, NOW).outcome is WriteOutcome.TIME_OUT


def test_without_a_region_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that knows no AWS region refuses such pools and says what to set."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    capacity = ClusterCapacity(NoKubernetes())

    assert "AWS_REGION" in read(capacity, pool_of(ASG)).messages[0]
    assert order(capacity, pool_of(ASG), 2).outcome is WriteOutcome.REJECTED


def _activity(status: str, minutes_ago: float, message: str = "") -> dict[str, object]:
    return {
        "StatusCode": status,
        "StatusMessage": message,
        "Description": "Launching a new EC2 instance",
        "StartTime": NOW - timedelta(minutes=minutes_ago),
    }


OUT = "We currently do not have sufficient capacity. InsufficientInstanceCapacity"


@pytest.mark.parametrize(
    ("activities", "condition"),
    [
        ((_activity("Failed", 2, OUT),), PoolCondition.STOCK_OUT),
        ((_activity("Failed", 2, "VcpuLimitExceeded"),), PoolCondition.QUOTA_EXCEEDED),
        ((_activity("Successful", 1), _activity("Failed", 2, OUT)), None),
        ((_activity("Failed", 6, OUT),), None),
        ((_activity("Failed", 6, OUT), _activity("Failed", 8, OUT)), PoolCondition.STOCK_OUT),
        (tuple(_activity("Failed", 31 + n, OUT) for n in range(9)), None),
        ((_activity("Failed", 1, "Invalid launch template"),), None),
    ],
)
def test_a_failed_launch_speaks_for_a_while(activities, condition) -> None:
    """A failure counts until a success or its hold, which doubles with each in a row up to half an hour."""
    found = launch_failure(activities, NOW)
    assert (None if found is None else found[0]) is condition
