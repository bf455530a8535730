"""The pure decision: in which order limits speak, and what Retry-After they compute."""

from __future__ import annotations

import math
from dataclasses import replace
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.admission.callers import Caller, CallerKind
from inference.admission.decision import Ask, is_in_share, refusal_of
from inference.admission.flags.values import normal_values
from inference.admission.languages import SENTENCES, Language, language_of, refusal_sentence
from inference.admission.tiers import BATCH, FREE, PAID
from inference.admission.verdicts import ErrorCode, LimitReason, Refusal
from inference.admission.waiting import WaitCorrection
from inference.engine.ports import EngineSnapshot, WorkBound

IDLE = EngineSnapshot(
    taken_at=100.0,
    is_warm=True,
    num_slots=4,
    num_allowed_slots=4,
    max_queued_requests=10,
    max_queued_tokens=1_000,
    tokens_per_second=100.0,
    capacity_tokens_per_second=100.0,
)
BUSY = replace(IDLE, num_busy_slots=4, num_running_requests=4, in_flight_tokens=128, num_queued_requests=5)
ASK = Ask(
    caller=Caller(user="user:ann", kind=CallerKind.NAMED, tier="free", region="eu"),
    tier=FREE,
    flags=normal_values(FREE),
    num_images=1,
    num_tokens=64,
    num_in_work=0,
    engine=IDLE,
    estimated_wait_seconds=0.0,
    promised_tokens=0.0,
    max_wait_seconds=30.0,
    guard_recovery_seconds=10.0,
    is_draining=False,
    flags_change_at_unix=None,
    now_unix=1_000_000.0,
)


def refused(**changes: object) -> Refusal:
    refusal = refusal_of(replace(ASK, **changes))
    assert refusal is not None
    return refusal


def test_an_idle_pod_refuses_nobody() -> None:
    """Without limits only the quota is left to ask."""
    assert refusal_of(ASK) is None
    assert refusal_of(replace(ASK, tier=BATCH)) is None


@pytest.mark.parametrize(
    ("engine", "code", "reason"),
    [
        (replace(IDLE, is_draining=True), ErrorCode.DRAINING, LimitReason.DRAINING),
        (replace(IDLE, failure="boom"), ErrorCode.NO_CAPACITY, LimitReason.ENGINE_FAILED),
        (replace(IDLE, is_warm=False), ErrorCode.NO_CAPACITY, LimitReason.STARTING),
        (replace(IDLE, num_allowed_slots=0), ErrorCode.NO_CAPACITY, LimitReason.THERMAL_GUARD),
        (replace(IDLE, bound=WorkBound(duty_ratio=0.0)), ErrorCode.NO_CAPACITY, LimitReason.THERMAL_GUARD),
    ],
)
def test_what_no_waiting_helps_comes_first(engine: EngineSnapshot, code: ErrorCode, reason: LimitReason) -> None:
    """The pod's own state speaks before flags, quotas and queue, with 503."""
    refusal = refused(engine=engine, flags=replace(ASK.flags, generation_enabled=False))
    assert (refusal.code, refusal.reason) == (code, reason)
    assert refusal.code.status == 503
    assert refusal.retry_after_seconds >= 1.0


def test_a_full_queue_tells_the_time_to_drain_the_excess() -> None:
    """Retry-After is the tokens above the tier's share, and those promised before, over the measured speed."""
    engine = replace(BUSY, queued_tokens=900)
    refusal = refused(engine=engine, promised_tokens=36.0)
    # 900 + 64 - 800 tokens too many, and 36 promised: 2 seconds at 100 tokens a second.
    assert refusal.retry_after_seconds == pytest.approx(2.0)
    assert (refusal.limit, refusal.maximum, refusal.remaining) == ("queue-tokens", 800, 0)
    assert refusal_of(replace(ASK, engine=engine, tier=PAID)) is None


def test_a_queue_full_of_requests_is_contended_too() -> None:
    """The limit in requests holds as well as that in tokens."""
    refusal = refused(engine=replace(BUSY, num_queued_requests=8, queued_tokens=8))
    assert (refusal.limit, refusal.code) == ("queue-requests", ErrorCode.CONTENDED)


def test_a_wait_that_is_too_long_is_refused() -> None:
    """What would wait longer than the bound is told to come when it would not."""
    refusal = refused(engine=BUSY, estimated_wait_seconds=34.0)
    assert refusal.limit == "queue-wait"
    assert refusal.retry_after_seconds == pytest.approx(34.0 - 0.8 * 30.0)
    assert refused(engine=BUSY, estimated_wait_seconds=math.inf).retry_after_seconds <= 600.0


def test_a_limit_by_flag_names_its_own_end() -> None:
    """A disabled region says when the rule next ends by itself; without an end, a while."""
    closed = replace(ASK.flags, generation_enabled=False, limit_reason="heat")
    refusal = refused(flags=closed, flags_change_at_unix=1_000_240.0)
    assert (refusal.retry_after_seconds, refusal.resets_at_unix) == (240.0, 1_000_240.0)
    assert (refusal.flag_reason, refusal.code.status) == ("heat", 403)
    assert refused(flags=closed).retry_after_seconds == 300.0
    assert refused(flags=replace(closed, limit_reason="none")).flag_reason == ""


def test_more_than_may_be_at_once_is_never_promised_for_later() -> None:
    """Who asks for more images than the limit is told to ask for fewer, not to wait for images in work."""
    refusal = refused(num_images=5, num_in_work=4)
    assert (refusal.reason, refusal.code) == (LimitReason.TOO_MANY_AT_ONCE, ErrorCode.CONTENDED)
    assert (refusal.limit, refusal.maximum, refusal.remaining) == ("max-concurrent-images", 4, 4)
    assert "ask for fewer" in refusal_sentence(refusal, Language.ENGLISH)
    # A flag may have lowered the limit; then its end is what to wait for.
    assert refused(num_images=5, flags_change_at_unix=1_000_240.0).retry_after_seconds == 240.0
    assert refused(num_images=4, num_in_work=1).reason is LimitReason.CONCURRENCY


@given(ratio=st.floats(0.0, 1.0), now=st.floats(1e9, 2e9))
def test_turns_give_about_the_share_and_everybody_one(ratio: float, now: float) -> None:
    """Over many users the share that is admitted is the ratio, and the refused are told when their turn comes."""
    users = [f"user:{number}" for number in range(400)]
    admitted = sum(is_in_share(user, ratio, now) for user in users)
    assert abs(admitted / 400 - ratio) < 0.13
    flags = replace(ASK.flags, admission_ratio=ratio)
    refusal = refusal_of(replace(ASK, flags=flags, now_unix=now))
    if refusal is not None and refusal.resets_at_unix is not None:
        later = replace(ASK, flags=flags, now_unix=now + refusal.retry_after_seconds + 0.001)
        assert refusal_of(later) is None


@given(
    queued=st.integers(0, 2_000), flying=st.integers(0, 512), speed=st.floats(0.0, 1e5), images=st.integers(1, 10),
    in_work=st.integers(0, 30), promised=st.floats(0.0, 1e6), wait=st.floats(0.0, math.inf),
    tier=st.sampled_from([FREE, PAID, BATCH]), ratio=st.floats(0.0, 1.0), enabled=st.booleans(),
)  # fmt: skip
def test_every_refusal_has_a_bounded_positive_retry(
    queued, flying, speed, images, in_work, promised, wait, tier, ratio, enabled
) -> None:
    """Whatever the state, Retry-After lies between a second and a day, and every language can say why."""
    engine = replace(
        BUSY, queued_tokens=queued, in_flight_tokens=flying, tokens_per_second=speed, capacity_tokens_per_second=speed
    )
    flags = replace(normal_values(tier), admission_ratio=ratio, generation_enabled=enabled)
    ask = replace(
        ASK, tier=tier, flags=flags, num_images=images, num_tokens=64 * images, num_in_work=in_work, engine=engine,
        promised_tokens=promised, estimated_wait_seconds=wait,
    )  # fmt: skip
    refusal = refusal_of(ask)
    if refusal is not None:
        assert 1.0 <= refusal.retry_after_seconds <= 86_400.0
        for language in Language:
            assert refusal_sentence(refusal, language)


def test_every_language_has_every_sentence() -> None:
    """The languages share keys and fields, and every reason has its sentence."""
    fields = {
        language: {
            key: {field for _, field, _, _ in Formatter().parse(text) if field} for key, text in sentences.items()
        }
        for language, sentences in SENTENCES.items()
    }
    assert fields[Language.ENGLISH] == fields[Language.SPANISH] == fields[Language.ITALIAN]
    assert {reason.value for reason in LimitReason} <= set(fields[Language.ENGLISH])


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", Language.ENGLISH),
        ("es", Language.SPANISH),
        ("it-CH;q=0.3, es;q=0.2, fr", Language.ITALIAN),
        ("es;q=0, it;q=junk", Language.ENGLISH),
        ("*", Language.ENGLISH),
    ],
)
def test_the_language_is_the_preferred_one_of_ours(header: str, language: Language) -> None:
    """Qualities decide, nonsense counts as none, English is the rest."""
    assert language_of(header) is language


def test_estimates_follow_what_came() -> None:
    """A tier whose waits come out longer than told is soon told so, within bounds; others are not touched."""
    waits = WaitCorrection({"free": 1.0, "paid": 10.0}, 0.0)
    for second in range(200):
        waits.learn("free", 2.0, 3.0, float(second))
        waits.learn("free", 0.001, 9.0, float(second))
    assert waits.corrected("free", 2.0) == pytest.approx(3.0, rel=0.01)
    assert waits.corrected("paid", 2.0) == 2.0
    for second in range(400):
        waits.learn("paid", 2.0, 2_000.0, float(second))
    assert waits.corrected("paid", 2.0) == pytest.approx(4.0, rel=0.01)
    # A crowd that ends at one moment teaches no more than one of it.
    for _ in range(100):
        waits.learn("paid", 2.0, 2.0, 400.0)
    assert waits.corrected("paid", 2.0) > 3.5


def test_who_will_overtake_is_counted_at_once() -> None:
    """While heavier tiers take a quarter of the speed, a light one waits four thirds; they themselves do not."""
    waits = WaitCorrection({"free": 1.0, "paid": 10.0, "batch": 0.0}, 0.0)
    for tenth in range(100):
        waits.admitted("paid", 25, tenth / 10)
        waits.admitted("batch", 1_000, tenth / 10)
    assert waits.modelled("free", 3.0, 1_000.0, 10.0) == pytest.approx(4.0, rel=0.02)
    assert waits.modelled("paid", 3.0, 1_000.0, 10.0) == 3.0
    # It fades when they stop coming, and never makes a wait endless.
    assert waits.modelled("free", 3.0, 1_000.0, 100.0) == pytest.approx(3.0, rel=0.01)
    assert waits.modelled("free", 3.0, 1e-9, 10.0) == pytest.approx(15.0)
