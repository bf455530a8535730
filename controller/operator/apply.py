"""Carries out what was decided, on a fresh read and under the fence; reports what became of each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from controller.adapters.flags.rendering import FlagRequest, render_flags
from controller.adapters.ports import CapacityPort, FlagPort, FlagReceipt, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import PoolTarget
from controller.errors import ControllerError
from controller.operator.kubernetes.lease import NotLeadingError
from controller.operator.state import IntentProgress, PoolIntent
from controller.planning.flags import flag_set
from controller.types import Ownership, Plan, PlanMemory, Policy, PoolMemory

MAX_FLAG_TRIES = 3
"""Tries to write flags in one pass, each on a new read; somebody else writes if that is not enough."""

Fence = Callable[[], int]
"""Returns the epoch to write with; raises NotLeadingError when the term is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """What became of one change of size: the intent with its progress, and what the adapter said."""

    intent: PoolIntent
    receipt: SizeReceipt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Changes of size to carry out.

    Attributes:
        decision_id: The decision behind them.
        intents: What to do; those that are not pending are passed over.
        targets: By pool.
        hottest_nodes: By pool, hottest first.
        is_too_late: Whether the decision is too old to be carried out.
        is_settling: Whether an earlier try may have had effect: then a pool that anybody wrote since is left alone.
    """

    decision_id: str
    intents: tuple[PoolIntent, ...]
    targets: Mapping[str, PoolTarget]
    hottest_nodes: Mapping[str, tuple[str, ...]]
    is_too_late: Callable[[], bool]
    is_settling: bool = False


def apply_orders(
    orders: Orders, capacity: CapacityPort, fence: Fence, pool: ThreadPoolExecutor, now: datetime
) -> tuple[OrderResult, ...]:
    """Carry out the pending intents of a decision, several at the same time.

    Args:
        orders: What to do.
        capacity: Where.
        fence: Asked before every write.
        pool: Whose threads to use.
        now: Stamps reads and writes.

    Returns:
        One result an intent, in their order; an intent stays pending when nobody knows what became of it.
    """

    def one(intent: PoolIntent) -> OrderResult:
        if intent.progress is not IntentProgress.PENDING:
            return OrderResult(intent=intent, receipt=None)
        try:
            return _apply_order(orders, intent, capacity, fence, now)
        except NotLeadingError as error:
            return OrderResult(intent=replace(intent, text=str(error)), receipt=None)
        except ControllerError as error:
            return OrderResult(intent=_ended(intent, IntentProgress.FAILED, str(error)), receipt=None)

    return tuple(pool.map(one, orders.intents))


def _apply_order(
    orders: Orders, intent: PoolIntent, capacity: CapacityPort, fence: Fence, now: datetime
) -> OrderResult:
    """Carry out one change of size, unless a fresh read says that it is done, or that the pool has moved."""
    target = orders.targets.get(intent.pool)
    if target is None:
        return OrderResult(intent=_ended(intent, IntentProgress.FAILED, "the pool is gone"), receipt=None)
    if orders.is_too_late():
        return OrderResult(intent=_ended(intent, IntentProgress.FAILED, "too late; decided anew"), receipt=None)
    fence()
    size = capacity.read(target, now).value
    if size is None:
        text = "the pool's size cannot be read; decided anew"
        return OrderResult(intent=_ended(intent, IntentProgress.FAILED, text), receipt=None)
    is_ours = intent.ownership is Ownership.DESIRED
    if size.decision_id == orders.decision_id or (is_ours and size.desired == intent.to_nodes):
        return OrderResult(intent=_ended(intent, IntentProgress.DONE, "stands already"), receipt=None)
    if is_ours and size.desired != intent.from_nodes:
        text = f"moved meanwhile from {intent.from_nodes} to {size.desired} nodes; decided anew"
        return OrderResult(intent=_ended(intent, IntentProgress.FAILED, text), receipt=None)
    if orders.is_settling and (intent.revision is None or size.revision != intent.revision):
        text = "written by somebody since it was decided; decided anew"
        return OrderResult(intent=_ended(intent, IntentProgress.FAILED, text), receipt=None)
    order = SizeOrder(
        pool=target,
        to_nodes=intent.to_nodes,
        ownership=intent.ownership,
        decision_id=orders.decision_id,
        epoch=fence(),
        revision=size.revision,
        hottest_nodes=orders.hottest_nodes.get(intent.pool, ()) if intent.to_nodes < intent.from_nodes else (),
    )
    receipt = capacity.set_size(order, now)
    progress = {WriteOutcome.DONE: IntentProgress.DONE, WriteOutcome.TIME_OUT: IntentProgress.PENDING}.get(
        receipt.outcome, IntentProgress.FAILED
    )
    return OrderResult(intent=_ended(intent, progress, receipt.text), receipt=receipt)


def _ended(intent: PoolIntent, progress: IntentProgress, text: str) -> PoolIntent:
    """Return the intent with what became of it."""
    return replace(intent, progress=progress, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagOrder:
    """A flag set to write.

    Attributes:
        policy: Tiers, ladder, times to live.
        positions: Each region's position on the ladder.
        reasons: Message id that users are shown, by region.
        decision_id: The decision behind it.
        expires_at: When the positions end unless renewed.
        least_revision: The set's revision is at least this.
        with_feature_flag: Render it for a FeatureFlag, too.
    """

    policy: Policy
    positions: Mapping[str, int]
    reasons: Mapping[str, str]
    decision_id: str
    expires_at: datetime
    least_revision: int
    with_feature_flag: bool = False


def flag_order_of(plan: Plan, policy: Policy, *, expires_at: datetime, with_feature_flag: bool) -> FlagOrder:
    """Return the flag set that a plan asks for.

    Args:
        plan: The decision.
        policy: What it was decided under.
        expires_at: When its positions end unless renewed.
        with_feature_flag: Render it for a FeatureFlag, too.

    Returns:
        The order.
    """
    return FlagOrder(
        policy=policy,
        positions={verdict.region: verdict.step_index for verdict in plan.regions},
        reasons={verdict.region: verdict.why.code for verdict in plan.regions},
        decision_id=plan.decision_id,
        expires_at=expires_at,
        least_revision=plan.memory.flag_revision,
        with_feature_flag=with_feature_flag,
    )


def apply_flags(order: FlagOrder, flags: FlagPort, fence: Fence, now: datetime) -> FlagReceipt:
    """Write a flag set, on a fresh read and above whatever revision stands there.

    Args:
        order: What to write.
        flags: Where.
        fence: Asked before every try.
        now: Stamps reads and writes.

    Returns:
        What became of it.
    """
    receipt = FlagReceipt(outcome=WriteOutcome.TIME_OUT, text="the flag store does not answer")
    for _ in range(MAX_FLAG_TRIES):
        epoch = fence()
        stored = flags.read(now).value
        if stored is None:
            return FlagReceipt(outcome=WriteOutcome.TIME_OUT, text="the flag store does not answer")
        revision = max(order.least_revision, stored.rendered.revision + 1)
        request = FlagRequest(
            policy=order.policy,
            positions=order.positions,
            reasons=order.reasons,
            flags=flag_set(order.policy, dict(order.positions), revision=revision, expires_at=order.expires_at),
            decision_id=order.decision_id,
            revision=revision,
            expires_at=order.expires_at,
        )
        rendered = render_flags(request, with_feature_flag=order.with_feature_flag)
        receipt = flags.write(rendered, epoch=epoch, token=stored.token, now=now)
        if receipt.outcome is not WriteOutcome.CONFLICT:
            break
    return receipt


def without_failed(memory: PlanMemory, failed: tuple[PoolIntent, ...], decided_at: datetime) -> PlanMemory:
    """Return the memory as if failed changes of size had not been decided.

    Clocks that were started stay: they only hold things back. Sizes and the hourly count are put right.

    Args:
        memory: After the decision.
        failed: Changes that are known not to have happened.
        decided_at: When they were decided.

    Returns:
        The memory.
    """
    if not failed:
        return memory
    back = {intent.pool: intent.from_nodes for intent in failed}
    grown = sum(max(intent.to_nodes - intent.from_nodes, 0) for intent in failed)
    added = [(at, count - grown if at == decided_at else count) for at, count in memory.added_nodes]

    def put_right(entry: PoolMemory) -> PoolMemory:
        return replace(entry, desired_nodes=back[entry.pool]) if entry.pool in back else entry

    return replace(
        memory,
        pools=tuple(put_right(entry) for entry in memory.pools),
        added_nodes=tuple((at, count) for at, count in added if count > 0),
    )
