"""EKS managed node groups and EC2 Auto Scaling groups, through boto3.

Neither API has a compare-and-swap, so a write rests on a read made just before it, and the order's revision (the sizes
that were read) must still be true. EKS checks bounds when it is too late to say so nicely; they are checked here first.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.adapters.capacity import fields
from controller.adapters.capacity.failures import classify, outcome_of
from controller.adapters.ports import PoolSize, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import AsgTarget, EksTarget, PoolTarget
from controller.errors import PermanentError
from controller.types import Ownership, PoolCondition, Sample

CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
MAX_ATTEMPTS = 2
AUTOSCALER_TAG = "k8s.io/cluster-autoscaler/enabled"
STOCK_OUT_HOLD_SECONDS = 300.0
"""How long a failed launch speaks for the present; doubled for each failure in a row, up to the next."""
MAX_STOCK_OUT_HOLD_SECONDS = 1800.0
NUM_ACTIVITIES = 20
_CONFLICTS = {"ResourceInUseException", "ResourceContention", "ResourceInUse", "ScalingActivityInProgress"}
_TRANSIENT = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "ServerException", "ServiceUnavailable"}

ClientFactory = Callable[[str], Any]
"""Makes a client of a service, ``eks`` or ``autoscaling``; boto3 has no types for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """One group as it was read.

    Attributes:
        least: Its lower bound.
        desired: Its size as asked for.
        most: Its upper bound.
        created: Instances; None when the API does not say.
        ready: Instances in service; None when the API does not say.
        conditions: What stands in its way.
        messages: The same in words.
    """

    least: int
    desired: int
    most: int
    created: int | None
    ready: int | None
    conditions: frozenset[PoolCondition]
    messages: tuple[str, ...]

    @property
    def revision(self) -> str:
        """The sizes, as a token."""
        return f"{self.least}/{self.desired}/{self.most}"


def boto3_client(service: str) -> Any:
    """Make a client with bounded waits; region and credentials come from where boto3 looks for them.

    Args:
        service: ``eks`` or ``autoscaling``.

    Returns:
        The client.

    Raises:
        PermanentError: If boto3 is not installed, or knows no region.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
    except ImportError as error:
        raise PermanentError("pools of kind eks and asg need boto3; pip install 'meltguard[aws]'") from error
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"max_attempts": MAX_ATTEMPTS, "mode": "standard"},
    )
    try:
        return boto3.session.Session().client(service, config=config)
    except NoRegionError as error:
        raise PermanentError("pools of kind eks and asg need a region; set AWS_REGION in the operator's pod") from error


class AwsAdapter:
    """Reads and writes node groups.

    Args:
        clients: Makes clients; each is made once, when it is first needed.
    """

    def __init__(self, clients: ClientFactory = boto3_client) -> None:
        """Make no client yet."""
        self._clients = clients
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read(self, pool: PoolTarget, target: EksTarget | AsgTarget, now: datetime) -> Sample[PoolSize]:
        """Read a group.

        Args:
            pool: The pool.
            target: Its group.
            now: Time of the read.

        Returns:
            Its size; absent when AWS does not answer.
        """
        group = self._group(target, now)
        if isinstance(group, SizeReceipt):
            if group.outcome is WriteOutcome.TIME_OUT:
                return Sample.absent()
            nothing = PoolSize(desired=None, written=None, created=None, ready=None, messages=(group.text,))
            return Sample.fresh(nothing, now)
        owned = PoolCondition.FOREIGN_OWNER in group.conditions and pool.ownership is not Ownership.DESIRED
        size = PoolSize(
            desired=group.desired,
            written=group.least if pool.ownership is Ownership.FLOOR else group.desired,
            created=group.created,
            ready=group.ready,
            revision=group.revision,
            conditions=group.conditions - ({PoolCondition.FOREIGN_OWNER} if owned else set()),
            messages=group.messages,
        )
        return Sample.fresh(size, now)

    def set_size(self, order: SizeOrder, target: EksTarget | AsgTarget, now: datetime) -> SizeReceipt:
        """Carry out an order.

        Args:
            order: The order.
            target: The pool's group.
            now: Time of the order.

        Returns:
            How it ended.
        """
        group = self._group(target, now)
        if isinstance(group, SizeReceipt):
            return group
        refusal = _refusal(order, target, group)
        if refusal is not None:
            return refusal
        try:
            if isinstance(target, EksTarget):
                self._resize_eks(order, target, group)
            else:
                self._resize_asg(order, target, group)
        except _errors() as error:
            return self._looked_up(order, target, _receipt(error, _name(target)), now)
        text = f"{_name(target)}: {_written(order, group)} to {order.to_nodes} nodes"
        return SizeReceipt(outcome=WriteOutcome.DONE, text=text, wrote=True)

    def _looked_up(
        self, order: SizeOrder, target: EksTarget | AsgTarget, receipt: SizeReceipt, now: datetime
    ) -> SizeReceipt:
        """Return the receipt of a write that failed; one whose answer was lost may still have had effect."""
        if receipt.outcome is not WriteOutcome.TIME_OUT:
            return receipt
        group = self._group(target, now)
        if isinstance(group, _Group) and _written(order, group) == order.to_nodes:
            return SizeReceipt(outcome=WriteOutcome.DONE, text=f"{_name(target)}: {order.to_nodes} nodes", wrote=True)
        return receipt

    def _client(self, service: str) -> Any:
        """Return the client of a service; making one is not safe from two threads, using it is."""
        with self._lock:
            if service not in self._made:
                self._made[service] = self._clients(service)
            return self._made[service]

    def _group(self, target: EksTarget | AsgTarget, now: datetime) -> _Group | SizeReceipt:
        """Read a group; a receipt when that fails."""
        try:
            return self._eks(target) if isinstance(target, EksTarget) else self._asg(target, now)
        except PermanentError as error:
            return SizeReceipt(outcome=WriteOutcome.REJECTED, text=str(error))
        except _errors() as error:
            return _receipt(error, _name(target))

    def _eks(self, target: EksTarget) -> _Group:
        """Read a managed node group."""
        answer = self._client("eks").describe_nodegroup(clusterName=target.cluster, nodegroupName=target.nodegroup)
        group = fields.child(answer, "nodegroup")
        conditions, messages = _owned_by_autoscaler(fields.child(group, "tags"), target)
        if fields.text(group, "status") in ("UPDATING", "CREATING"):
            conditions.add(PoolCondition.UPDATING)
        for issue in fields.rows(group, "health", "issues"):
            text = f"{fields.text(issue, 'code')}: {fields.text(issue, 'message')}"
            messages.append(f"{_name(target)}: {text[:300]}")
            conditions |= {found} if (found := classify(text)) is not None else set()
        return _Group(
            least=fields.number(group, "scalingConfig", "minSize") or 0,
            desired=fields.number(group, "scalingConfig", "desiredSize") or 0,
            most=fields.number(group, "scalingConfig", "maxSize") or 0,
            created=None,
            ready=None,
            conditions=frozenset(conditions),
            messages=tuple(messages),
        )

    def _resize_eks(self, order: SizeOrder, target: EksTarget, group: _Group) -> None:
        """Write the size or the floor of a managed node group; a floor may not stand above the size, so it lifts it."""
        config = {"desiredSize": order.to_nodes}
        if order.ownership is Ownership.FLOOR:
            config = {"minSize": order.to_nodes}
            if order.to_nodes > group.desired:
                config["desiredSize"] = order.to_nodes
        if order.dry_run:
            return
        # At most 64 characters; the same order sent twice is done once.
        token = hashlib.sha256(f"{order.decision_id}/{order.pool.pool}/{order.to_nodes}".encode()).hexdigest()
        self._client("eks").update_nodegroup_config(
            clusterName=target.cluster,
            nodegroupName=target.nodegroup,
            scalingConfig=config,
            clientRequestToken=token,
        )

    def _asg(self, target: AsgTarget, now: datetime) -> _Group:
        """Read an Auto Scaling group and what became of its latest launches."""
        client = self._client("autoscaling")
        found = fields.rows(
            client.describe_auto_scaling_groups(AutoScalingGroupNames=[target.name]), "AutoScalingGroups"
        )
        if not found:
            raise PermanentError(f"{_name(target)} does not exist; is the pool's target spelled right?")
        group = found[0]
        tags = {fields.text(row, "Key"): fields.text(row, "Value") for row in fields.rows(group, "Tags")}
        conditions, messages = _owned_by_autoscaler(tags, target)
        if any(fields.text(row, "ProcessName") == "Launch" for row in fields.rows(group, "SuspendedProcesses")):
            conditions.add(PoolCondition.PAUSED)
            messages.append(f"{_name(target)}: launching is suspended")
        activities = client.describe_scaling_activities(AutoScalingGroupName=target.name, MaxRecords=NUM_ACTIVITIES)
        failure = launch_failure(fields.rows(activities, "Activities"), now)
        if failure is not None:
            conditions.add(failure[0])
            messages.append(f"{_name(target)}: {failure[1]}")
        instances = fields.rows(group, "Instances")
        return _Group(
            least=fields.number(group, "MinSize") or 0,
            desired=fields.number(group, "DesiredCapacity") or 0,
            most=fields.number(group, "MaxSize") or 0,
            created=len(instances),
            ready=sum(1 for row in instances if fields.text(row, "LifecycleState") == "InService"),
            conditions=frozenset(conditions),
            messages=tuple(messages),
        )

    def _resize_asg(self, order: SizeOrder, target: AsgTarget, group: _Group) -> None:
        """Write the size or the floor of an Auto Scaling group."""
        if order.dry_run:
            return
        client = self._client("autoscaling")
        if order.ownership is Ownership.FLOOR:
            # EC2 lifts the size to the floor by itself.
            client.update_auto_scaling_group(AutoScalingGroupName=target.name, MinSize=order.to_nodes)
            return
        client.set_desired_capacity(
            AutoScalingGroupName=target.name, DesiredCapacity=order.to_nodes, HonorCooldown=False
        )


def launch_failure(activities: tuple[fields.Object, ...], now: datetime) -> tuple[PoolCondition, str] | None:
    """Return why launches fail now.

    A failure speaks for the present until a launch succeeds or a hold has passed, which doubles with each failure in a
    row: a pool that is out of stock is tried again, and less often the longer that lasts.

    Args:
        activities: Scaling activities, newest first, as EC2 lists them.
        now: Time of the question.

    Returns:
        The condition and EC2's message; None when the latest launches did not fail, or not lately.
    """
    failures = []
    for row in activities:
        if fields.text(row, "StatusCode") == "Failed":
            failures.append(row)
        elif fields.text(row, "StatusCode") == "Successful" and "aunching" in fields.text(row, "Description"):
            break
    if not failures:
        return None
    text = fields.text(failures[0], "StatusMessage")
    condition = classify(text)
    started = failures[0].get("StartTime")
    if condition is None or not isinstance(started, datetime):
        return None
    hold_seconds = min(STOCK_OUT_HOLD_SECONDS * 2.0 ** (len(failures) - 1), MAX_STOCK_OUT_HOLD_SECONDS)
    age_seconds = (now - started.astimezone(UTC)).total_seconds()
    return (condition, text[:300]) if age_seconds <= hold_seconds else None


def _owned_by_autoscaler(tags: fields.Object, target: EksTarget | AsgTarget) -> tuple[set[PoolCondition], list[str]]:
    """Return the first conditions of a group: whether cluster-autoscaler has been told to size it."""
    if AUTOSCALER_TAG not in tags:
        return set(), []
    return {PoolCondition.FOREIGN_OWNER}, [f"{_name(target)}: cluster-autoscaler owns its size (tag {AUTOSCALER_TAG})"]


def _refusal(order: SizeOrder, target: EksTarget | AsgTarget, group: _Group) -> SizeReceipt | None:
    """Return why a group must not be written, or that it stands already; None when it may be written."""
    name = _name(target)
    if order.revision is not None and order.revision != group.revision:
        return SizeReceipt(outcome=WriteOutcome.CONFLICT, text=f"{name} changed meanwhile; read it again")
    if order.ownership is Ownership.DESIRED and PoolCondition.FOREIGN_OWNER in group.conditions:
        return SizeReceipt(outcome=WriteOutcome.FOREIGN_OWNER, text=f"{group.messages[0]}; use ownership floor")
    if _written(order, group) == order.to_nodes:
        return SizeReceipt(outcome=WriteOutcome.DONE, text=f"{name}: {order.to_nodes} nodes already")
    least = 0 if order.ownership is Ownership.FLOOR else group.least
    if not least <= order.to_nodes <= group.most:
        text = (
            f"{name}: {order.to_nodes} nodes lie outside its own bounds of {least} to {group.most}; change those first"
        )
        return SizeReceipt(outcome=WriteOutcome.REJECTED, text=text)
    if PoolCondition.UPDATING in group.conditions:
        text = f"{name} is being updated; EKS takes one change at a time"
        return SizeReceipt(outcome=WriteOutcome.CONFLICT, text=text, retry_after_seconds=30.0)
    return None


def _errors() -> tuple[type[Exception], ...]:
    """Return what calls of boto3 raise; its clients exist, so it is installed."""
    from botocore.exceptions import BotoCoreError, ClientError

    return (BotoCoreError, ClientError)


def _written(order: SizeOrder, group: _Group) -> int:
    """Return what stands now where the order would write."""
    return group.least if order.ownership is Ownership.FLOOR else group.desired


def _receipt(error: Exception, name: str) -> SizeReceipt:
    """Return the receipt of a failed call; errors of botocore say what they are by attributes and class names."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        kind = type(error).__name__
        unreachable = any(word in kind for word in ("Timeout", "Connection", "Endpoint", "HTTPClient"))
        outcome = WriteOutcome.TIME_OUT if unreachable else WriteOutcome.REJECTED
        return SizeReceipt(outcome=outcome, text=f"{name}: {kind}: {str(error)[:200]}")
    code, message = fields.text(response, "Error", "Code"), fields.text(response, "Error", "Message")
    text = f"{name}: {code}: {message[:300]}"
    if code in _CONFLICTS:
        return SizeReceipt(outcome=WriteOutcome.CONFLICT, text=text, retry_after_seconds=30.0)
    status = fields.number(response, "ResponseMetadata", "HTTPStatusCode") or 0
    if code in _TRANSIENT or status >= 500:
        return SizeReceipt(outcome=WriteOutcome.TIME_OUT, text=text, retry_after_seconds=5.0)
    return SizeReceipt(outcome=outcome_of(f"{code} {message}", WriteOutcome.REJECTED), text=text)


def _name(target: EksTarget | AsgTarget) -> str:
    """Return a group as people call it."""
    if isinstance(target, EksTarget):
        return f"EKS node group {target.cluster}/{target.nodegroup}"
    return f"Auto Scaling group {target.name}"
