"""The gate: asks callers, flags, the engine's state and quotas in turn, and lets a request through or says why not.

The API calls it once a request. What it let through keeps its place whatever flags say later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from inference.admission.attempts import Attempt, AttemptMemory
from inference.admission.callers import Caller, CallerRules, caller_of
from inference.admission.counters import QuotaUse, Window
from inference.admission.decision import (
    MAX_QUEUE_RETRY_SECONDS,
    STARTING_RETRY_SECONDS,
    Ask,
    backlog_seconds,
    refusal_of,
    retry_within,
    speed_tokens_per_second,
)
from inference.admission.flags.document import FlagKey
from inference.admission.flags.provider import GuardedFlagProvider
from inference.admission.flags.values import FlagReader, FlagValues
from inference.admission.quotas import QuotaLedger, QuotaRefusal, Reservation
from inference.admission.tiers import Tier
from inference.admission.verdicts import ErrorCode, LimitReason, Outcome, Refusal
from inference.admission.waiting import WaitCorrection
from inference.engine.errors import DrainingError, EngineFailedError, QueueFullError, UnsupportedRequestError
from inference.engine.ports import GenerationHandle, ImageEngine
from inference.engine.requests import GenerationRequest

GUARD_RECOVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent a request, and how.

    Attributes:
        caller: Who.
        tier: The caller's tier.
        attempt: Whether this is a first attempt.
    """

    caller: Caller
    tier: Tier
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A request that was let through; `AdmissionGate.ended` must be called for it once.

    Attributes:
        sender: Who sent it.
        handle: Its stream of events.
        reservation: The images that it took from the quota.
        num_images: Images asked for.
        estimated_wait_seconds: Wait for a slot as told to the user.
        modelled_wait_seconds: The same before what was learned, for learning it.
    """

    sender: Sender
    handle: GenerationHandle
    reservation: Reservation
    num_images: int
    estimated_wait_seconds: float
    modelled_wait_seconds: float


class Promises:
    """Tokens of refused requests that were told when to come back: they stand in an unseen queue before new ones."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tokens = 0.0
        self._at = 0.0

    def tokens(self, now: float, tokens_per_second: float) -> float:
        """Return what is left of them at ``now`` (monotonic seconds), worked off at the engine's speed."""
        self._tokens = max(self._tokens - (now - self._at) * tokens_per_second, 0.0)
        self._at = now
        return self._tokens

    def add(self, num_tokens: int, most: float) -> None:
        """Add a refused request's tokens, up to ``most`` in all."""
        self._tokens = min(self._tokens + num_tokens, most)


class AdmissionGate:
    """Lets requests through, or says why not."""

    def __init__(
        self,
        *,
        engine: ImageEngine,
        tiers: tuple[Tier, ...],
        rules: CallerRules,
        provider: GuardedFlagProvider,
        ledger: QuotaLedger,
        max_wait_seconds: float,
    ) -> None:
        """Guard ``engine``.

        Args:
            engine: What generates.
            tiers: Classes of users.
            rules: What is known about callers.
            provider: Flags in force.
            ledger: Quotas.
            max_wait_seconds: Longest wait that is admitted.
        """
        self._engine = engine
        self._tiers = {tier.name: tier for tier in tiers}
        self._rules = rules
        self._provider = provider
        self._flags = FlagReader(provider, engine.model.name)
        self.ledger = ledger
        self._max_wait_seconds = max_wait_seconds
        self._attempts = AttemptMemory()
        self._promises = Promises()
        self._in_work: dict[str, int] = {}
        self._waits = WaitCorrection({tier.name: tier.priority_weight for tier in tiers}, time.monotonic())
        self.is_draining = False

    def sender_of(self, headers: Mapping[str, str], peer: str, body_user: str | None) -> Sender:
        """Return who sent a request; to be asked once a request, since it uses up remembered refusals.

        Args:
            headers: Of the request; a mapping that ignores case.
            peer: Address of the connection's other end.
            body_user: The field ``user`` of the body.

        Returns:
            The sender.
        """
        caller = self.caller_of(headers, peer, body_user)
        attempt = self._attempts.classify(caller.user, headers, time.monotonic())
        return Sender(caller=caller, tier=self._tiers[caller.tier], attempt=attempt)

    def caller_of(self, headers: Mapping[str, str], peer: str, body_user: str | None) -> Caller:
        """Return the caller alone.

        Args:
            headers: Of the request; a mapping that ignores case.
            peer: Address of the connection's other end.
            body_user: The field ``user`` of the body.

        Returns:
            The caller.
        """
        return caller_of(headers, peer, body_user, self._rules)

    async def admit(self, sender: Sender, request: GenerationRequest, num_tokens: int) -> Admission | Refusal:
        """Let a request through, or say why not.

        Args:
            sender: Who sent it.
            request: What to generate; its tier and weight are the sender's.
            num_tokens: Image tokens of all its images.

        Returns:
            The admission, with its quota reserved and its place in the queue taken; or the refusal.

        Raises:
            UnsupportedRequestError: The engine cannot do this; nothing was counted.
        """
        flags = self._flags.read(sender.caller, sender.tier)
        ask = self._ask(sender, request, flags, num_tokens)
        # The wait is asked for last: to play the queue forward costs as much as all the rest of a refusal.
        refusal = refusal_of(ask) or refusal_of(replace(ask, estimated_wait_seconds=self.wait_of(request)))
        if refusal is not None:
            return self._refused(ask, refusal)
        user, tier = sender.caller.user, sender.tier
        # Taken before the store is asked, so that many requests at once cannot all see the same free place.
        self._in_work[user] = self._in_work.get(user, 0) + request.num_images
        admitted = False
        try:
            reserved = await self.ledger.reserve(
                user, tier.name, request.num_images, quota_limits(flags), fails_open=tier.fails_open
            )
            if isinstance(reserved, QuotaRefusal):
                return self._refused(ask, _quota_refusal(reserved, flags))
            modelled_wait = self._modelled_wait(request)
            try:
                handle = self._submit(request)
            except UnsupportedRequestError:
                await self.ledger.give_back(reserved, request.num_images)
                raise
            if isinstance(handle, Refusal):
                await self.ledger.give_back(reserved, request.num_images)
                return self._refused(ask, handle)
            admitted = True
            self._waits.admitted(tier.name, num_tokens, time.monotonic())
        finally:
            if not admitted:
                self._release(user, request.num_images)
        return Admission(
            sender=sender,
            handle=handle,
            reservation=reserved,
            num_images=request.num_images,
            estimated_wait_seconds=self._waits.corrected(tier.name, modelled_wait),
            modelled_wait_seconds=modelled_wait,
        )

    def wait_of(self, request: GenerationRequest) -> float:
        """Return how long a request would wait for a slot, as its user would be told."""
        return self._waits.corrected(request.tier, self._modelled_wait(request))

    async def ended(self, admission: Admission, num_finished: int, wait_seconds: float | None) -> None:
        """Free what a request held; images that it did not get go back to the quota.

        Args:
            admission: The request.
            num_finished: Images that it got.
            wait_seconds: How long it waited for a slot; None if it got none.
        """
        if wait_seconds is not None:
            tier, modelled = admission.sender.tier.name, admission.modelled_wait_seconds
            self._waits.learn(tier, modelled, wait_seconds, time.monotonic())
        self._release(admission.sender.caller.user, admission.num_images)
        missing = admission.num_images - num_finished
        if missing > 0:
            await self.ledger.give_back(admission.reservation, missing)

    async def usage(self, caller: Caller) -> tuple[FlagValues, tuple[QuotaUse, ...], int]:
        """Return a caller's flags, windows and images in work; counts nothing."""
        flags = self._flags.read(caller, self._tiers[caller.tier])
        uses = await self.ledger.usage(caller.user, caller.tier, quota_limits(flags))
        return flags, uses, self._in_work.get(caller.user, 0)

    def _modelled_wait(self, request: GenerationRequest) -> float:
        estimated = self._engine.estimated_wait_seconds(request)
        speed = speed_tokens_per_second(self._engine.snapshot())
        return self._waits.modelled(request.tier, estimated, speed, time.monotonic())

    def _ask(self, sender: Sender, request: GenerationRequest, flags: FlagValues, num_tokens: int) -> Ask:
        engine = self._engine.snapshot()
        now_unix = time.time()
        return Ask(
            caller=sender.caller,
            tier=sender.tier,
            flags=flags,
            num_images=request.num_images,
            num_tokens=num_tokens,
            num_in_work=self._in_work.get(sender.caller.user, 0),
            engine=engine,
            estimated_wait_seconds=0.0,
            promised_tokens=self._promises.tokens(time.monotonic(), speed_tokens_per_second(engine)),
            max_wait_seconds=self._max_wait_seconds,
            guard_recovery_seconds=GUARD_RECOVERY_SECONDS,
            is_draining=self.is_draining,
            flags_change_at_unix=self._provider.next_change_unix(now_unix),
            now_unix=now_unix,
        )

    def _submit(self, request: GenerationRequest) -> GenerationHandle | Refusal:
        """Queue a request; the engine may have filled up or begun to drain since it was looked at."""
        try:
            return self._engine.submit(request)
        except QueueFullError as error:
            seconds = retry_within(backlog_seconds(self._engine.snapshot()), most=MAX_QUEUE_RETRY_SECONDS)
            return Refusal(
                code=ErrorCode.CONTENDED,
                outcome=Outcome.CONTENDED,
                limit=f"queue-{error.limit.value}",
                reason=LimitReason.QUEUE_FULL,
                retry_after_seconds=seconds,
                maximum=error.maximum,
                remaining=max(error.maximum - error.queued, 0),
            )
        except DrainingError:
            code, reason = ErrorCode.DRAINING, LimitReason.DRAINING
        except EngineFailedError:
            code, reason = ErrorCode.NO_CAPACITY, LimitReason.ENGINE_FAILED
        return Refusal(
            code=code, outcome=Outcome.SHED, limit="pod", reason=reason, retry_after_seconds=STARTING_RETRY_SECONDS
        )

    def _refused(self, ask: Ask, refusal: Refusal) -> Refusal:
        self._attempts.refused(ask.caller.user, time.monotonic())
        if refusal.reason in {LimitReason.QUEUE_FULL, LimitReason.QUEUE_WAIT}:
            speed = speed_tokens_per_second(ask.engine)
            self._promises.add(ask.num_tokens, most=speed * MAX_QUEUE_RETRY_SECONDS)
        return refusal

    def _release(self, user: str, num_images: int) -> None:
        left = self._in_work.get(user, 0) - num_images
        if left > 0:
            self._in_work[user] = left
        else:
            self._in_work.pop(user, None)


def quota_limits(flags: FlagValues) -> dict[Window, int]:
    """Return what each window allows under these flags."""
    return {Window.HOUR: flags.images_per_hour, Window.DAY: flags.images_per_day}


def _quota_refusal(refused: QuotaRefusal, flags: FlagValues) -> Refusal:
    use = refused.use
    is_day = use.window is Window.DAY
    # A limit below what is asked for at once does not return with time; then the whole window is as good as any.
    seconds = use.window.seconds if use.resets_at_unix is None else use.resets_at_unix - time.time()
    return Refusal(
        code=ErrorCode.QUOTA_EXCEEDED,
        outcome=Outcome.QUOTA,
        limit=(FlagKey.IMAGES_PER_DAY if is_day else FlagKey.IMAGES_PER_HOUR).value,
        reason=LimitReason.DAILY_QUOTA if is_day else LimitReason.HOURLY_QUOTA,
        retry_after_seconds=retry_within(seconds),
        maximum=use.limit,
        remaining=use.remaining,
        resets_at_unix=use.resets_at_unix,
        flag_reason="" if flags.limit_reason == "none" else flags.limit_reason,
    )
