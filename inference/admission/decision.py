"""May this request start now? Everything but the quota, which is counted last. Pure: time and state are arguments.

The order is that of what helps the user most: first what no waiting at this pod changes, then what the controller
limits, then the user's own limits, then the queue.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

from inference.admission.callers import Caller
from inference.admission.flags.document import FlagKey
from inference.admission.flags.values import FlagValues
from inference.admission.tiers import Tier
from inference.admission.verdicts import MAX_RETRY_SECONDS, MIN_RETRY_SECONDS, ErrorCode, LimitReason, Outcome, Refusal
from inference.engine.ports import EngineSnapshot

RATIO_BUCKET_SECONDS = 60.0
"""While a share of requests is admitted, whose turn it is changes this often."""
MAX_BUCKETS_AHEAD = 60
DEFAULT_FLAG_RETRY_SECONDS = 300.0
MIN_FLAG_RETRY_SECONDS = 10.0
MAX_FLAG_RETRY_SECONDS = 3_600.0
MAX_QUEUE_RETRY_SECONDS = 600.0
STARTING_RETRY_SECONDS = 10.0
NONE_REASON = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request and all that its admission depends on.

    Attributes:
        caller: Who asks.
        tier: The caller's tier.
        flags: The flags for this caller.
        num_images: Images asked for.
        num_tokens: Image tokens of all of them.
        num_in_work: Images of this user that are queued or generated now.
        engine: State of the engine.
        estimated_wait_seconds: Wait for a slot, were it queued now.
        promised_tokens: Tokens of refused requests that were told to come back, and have not yet had the time.
        max_wait_seconds: Longest wait that is admitted.
        guard_recovery_seconds: Until the thermal guard lets a first slot work again, were the GPU cool now.
        is_draining: Whether the pod is about to end.
        flags_change_at_unix: When a limit by flag next ends by itself; None when that is not known.
        now_unix: Unix seconds.
    """

    caller: Caller
    tier: Tier
    flags: FlagValues
    num_images: int
    num_tokens: int
    num_in_work: int
    engine: EngineSnapshot
    estimated_wait_seconds: float
    promised_tokens: float
    max_wait_seconds: float
    guard_recovery_seconds: float
    is_draining: bool
    flags_change_at_unix: float | None
    now_unix: float


def refusal_of(ask: Ask) -> Refusal | None:
    """Return why the request may not start now; None when only the quota is left to ask."""
    return _pod_refusal(ask) or _flag_refusal(ask) or _concurrency_refusal(ask) or _queue_refusal(ask)


def speed_tokens_per_second(engine: EngineSnapshot) -> float:
    """Return what the engine gets done while there is work: measured lately, else its capacity within the bound."""
    if engine.tokens_per_second > 0.0 and engine.num_queued_requests > 0:
        return engine.tokens_per_second
    allowed = min(engine.bound.occupancy_ratio, engine.bound.duty_ratio)
    return max(engine.capacity_tokens_per_second * allowed, engine.tokens_per_second, 1e-9)


def backlog_seconds(engine: EngineSnapshot) -> float:
    """Return how long everything that is queued and in work will take."""
    return (engine.queued_tokens + engine.in_flight_tokens) / speed_tokens_per_second(engine)


def is_in_share(user: str, ratio: float, now_unix: float) -> bool:
    """Return whether it is this user's turn while only ``ratio`` of requests is admitted.

    A hash of user and minute decides, so that asking again at once never helps, and everybody's turn comes.

    Args:
        user: Who asks.
        ratio: Share that is admitted, 0..1.
        now_unix: Unix seconds.

    Returns:
        True for about that share of users, others each minute.
    """
    bucket = math.floor(now_unix / RATIO_BUCKET_SECONDS)
    digest = hashlib.sha256(f"{bucket}/{user}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < ratio


def retry_within(seconds: float, least: float = MIN_RETRY_SECONDS, most: float = MAX_RETRY_SECONDS) -> float:
    """Return a Retry-After within its bounds; infinite or undefined waits become the longest.

    Args:
        seconds: The wait as computed.
        least: Lower bound.
        most: Upper bound.

    Returns:
        Seconds between the bounds.
    """
    return most if math.isnan(seconds) else min(max(seconds, least), most)


def _pod_refusal(ask: Ask) -> Refusal | None:
    engine = ask.engine
    if ask.is_draining or engine.is_draining:
        # Another pod takes over; if none does, what is left here has to be done first.
        seconds = retry_within(backlog_seconds(engine), most=MAX_QUEUE_RETRY_SECONDS)
        return _refusal(ask, ErrorCode.DRAINING, "pod", LimitReason.DRAINING, seconds)
    if engine.failure is not None:
        reason = LimitReason.ENGINE_FAILED
        return _refusal(ask, ErrorCode.NO_CAPACITY, "pod", reason, STARTING_RETRY_SECONDS)
    if not engine.is_warm:
        reason = LimitReason.STARTING
        return _refusal(ask, ErrorCode.NO_CAPACITY, "pod", reason, STARTING_RETRY_SECONDS)
    if engine.num_allowed_slots == 0 or engine.bound.duty_ratio <= 0.0 or engine.bound.occupancy_ratio <= 0.0:
        seconds = ask.guard_recovery_seconds + engine.queued_tokens / max(engine.capacity_tokens_per_second, 1e-9)
        seconds = retry_within(seconds, most=MAX_QUEUE_RETRY_SECONDS)
        return _refusal(ask, ErrorCode.NO_CAPACITY, "thermal-guard", LimitReason.THERMAL_GUARD, seconds)
    return None


def _flag_refusal(ask: Ask) -> Refusal | None:
    flags = ask.flags
    if not flags.generation_enabled:
        return _flag_limit(ask, ErrorCode.REGION_DISABLED, FlagKey.GENERATION_ENABLED, LimitReason.REGION_DISABLED)
    if ask.tier.is_deferrable and not flags.batch_admitted:
        return _flag_limit(ask, ErrorCode.CONTENDED, FlagKey.BATCH_ADMITTED, LimitReason.BATCH_DEFERRED)
    if not is_in_share(ask.caller.user, flags.admission_ratio, ask.now_unix):
        return _flag_limit(ask, ErrorCode.CONTENDED, FlagKey.ADMISSION_RATIO, LimitReason.ADMISSION_RATIO)
    return None


def _flag_limit(ask: Ask, code: ErrorCode, key: FlagKey, reason: LimitReason) -> Refusal:
    """Return the refusal by a flag: until the user's turn comes, else until the limit can next end by itself."""
    change_at = ask.flags_change_at_unix
    seconds = DEFAULT_FLAG_RETRY_SECONDS if change_at is None else change_at - ask.now_unix
    seconds = retry_within(seconds, MIN_FLAG_RETRY_SECONDS, MAX_FLAG_RETRY_SECONDS)
    resets_at = change_at
    if key is FlagKey.ADMISSION_RATIO and (turn := _next_turn_seconds(ask)) is not None and turn < seconds:
        seconds, resets_at = turn, ask.now_unix + turn
    outcome = Outcome.REGION_DISABLED if code is ErrorCode.REGION_DISABLED else Outcome.SHED
    return Refusal(
        code=code,
        outcome=outcome,
        limit=key.value,
        reason=reason,
        retry_after_seconds=seconds,
        resets_at_unix=resets_at,
        flag_reason="" if ask.flags.limit_reason == NONE_REASON else ask.flags.limit_reason,
    )


def _next_turn_seconds(ask: Ask) -> float | None:
    """Return the seconds until this user's turn under the present share; None if it does not come within the hour."""
    start = math.floor(ask.now_unix / RATIO_BUCKET_SECONDS) * RATIO_BUCKET_SECONDS
    for number in range(1, MAX_BUCKETS_AHEAD + 1):
        begins_at = start + number * RATIO_BUCKET_SECONDS
        if is_in_share(ask.caller.user, ask.flags.admission_ratio, begins_at):
            return retry_within(begins_at - ask.now_unix)
    return None


def _concurrency_refusal(ask: Ask) -> Refusal | None:
    maximum = ask.flags.max_concurrent_images
    if ask.num_in_work + ask.num_images <= maximum:
        return None
    if ask.num_images > maximum:
        # No waiting for one's own images helps; only a flag that lowered the limit can end.
        refusal = _flag_limit(ask, ErrorCode.CONTENDED, FlagKey.MAX_CONCURRENT_IMAGES, LimitReason.TOO_MANY_AT_ONCE)
        return replace(refusal, outcome=Outcome.CONTENDED, maximum=maximum, remaining=maximum)
    # The user's own work ends within the backlog; half of it is the mean wait for one of several images.
    seconds = retry_within(backlog_seconds(ask.engine) / 2, most=MAX_QUEUE_RETRY_SECONDS)
    limit = FlagKey.MAX_CONCURRENT_IMAGES.value
    refusal = _refusal(ask, ErrorCode.CONTENDED, limit, LimitReason.CONCURRENCY, seconds)
    return replace(refusal, maximum=maximum, remaining=max(maximum - ask.num_in_work, 0))


def _queue_refusal(ask: Ask) -> Refusal | None:
    """Refuse what would wait too long, or fill the queue beyond the tier's share of it."""
    engine, share = ask.engine, ask.tier.queue_share_ratio
    speed = speed_tokens_per_second(engine)
    max_tokens, max_requests = int(engine.max_queued_tokens * share), int(engine.max_queued_requests * share)
    if engine.num_queued_requests > 0 or engine.num_busy_slots >= engine.num_allowed_slots:
        excess = engine.queued_tokens + ask.num_tokens - max_tokens
        if engine.num_queued_requests + 1 > max_requests:
            excess = max(excess, ask.num_tokens)
        if excess > 0:
            seconds = retry_within((excess + ask.promised_tokens) / speed, most=MAX_QUEUE_RETRY_SECONDS)
            limit = "queue-tokens" if engine.num_queued_requests + 1 <= max_requests else "queue-requests"
            refusal = _refusal(ask, ErrorCode.CONTENDED, limit, LimitReason.QUEUE_FULL, seconds)
            return replace(refusal, maximum=max_tokens, remaining=max(max_tokens - engine.queued_tokens, 0))
    max_wait = ask.max_wait_seconds * share
    if ask.estimated_wait_seconds > max_wait:
        seconds = ask.estimated_wait_seconds - max_wait + ask.promised_tokens / speed
        seconds = retry_within(seconds, most=MAX_QUEUE_RETRY_SECONDS)
        return _refusal(ask, ErrorCode.CONTENDED, "queue-wait", LimitReason.QUEUE_WAIT, seconds)
    return None


def _refusal(ask: Ask, code: ErrorCode, limit: str, reason: LimitReason, retry_after_seconds: float) -> Refusal:
    outcome = Outcome.CONTENDED if code is ErrorCode.CONTENDED else Outcome.SHED
    return Refusal(
        code=code,
        outcome=outcome,
        limit=limit,
        reason=reason,
        retry_after_seconds=retry_after_seconds,
        resets_at_unix=ask.now_unix + retry_after_seconds,
    )
