"""What a flag set must be before it holds, and what the controller's own sets look like to a pod."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.flags.rendering import FlagRequest, render_flags
from inference.admission.callers import Caller, CallerKind
from inference.admission.flags.document import MAX_DOCUMENT_BYTES, FlagProblem, FlagSetError, parse_flag_set
from inference.admission.flags.provider import GuardedFlagProvider
from inference.admission.flags.values import FlagReader, evaluation_contexts, normal_values
from inference.admission.tiers import FREE, PAID
from tests.flag_documents import flag_document
from tests.planning_samples import policy

CONTEXTS = evaluation_contexts(("free", "paid", "batch"), ("eu", "us"), "digits")
ANN = Caller(user="user:ann", kind=CallerKind.NAMED, tier="free", region="eu")


def with_flag(key: str, **changes: object) -> str:
    """Return a set with one flag, changed from one that is right."""
    flag: dict[str, object] = {"state": "ENABLED", "variants": {"a": 1}, "defaultVariant": "a", **changes}
    return json.dumps({"flags": {key: flag}})


@pytest.mark.parametrize(
    ("text", "problem", "says"),
    [
        ("", FlagProblem.MALFORMED, "not JSON"),
        ("[]", FlagProblem.MALFORMED, "object `flags`"),
        ('{"flags": 3}', FlagProblem.MALFORMED, "object `flags`"),
        (" " * (MAX_DOCUMENT_BYTES + 1), FlagProblem.MALFORMED, "larger than"),
        (with_flag("images-per-day", state="ON"), FlagProblem.MALFORMED, "state"),
        (with_flag("images-per-day", variants={}), FlagProblem.MALFORMED, "variants"),
        (with_flag("images-per-day", variants={"a": "x"}), FlagProblem.WRONG_VALUE, "images-per-day"),
        (with_flag("images-per-day", variants={"a": -1}), FlagProblem.WRONG_VALUE, "negative"),
        (with_flag("images-per-day", variants={"a": True}), FlagProblem.WRONG_VALUE, "images-per-day"),
        (with_flag("admission-ratio", variants={"a": 1.5}), FlagProblem.WRONG_VALUE, "between 0 and 1"),
        (with_flag("images-per-day", defaultVariant="b"), FlagProblem.WRONG_VALUE, "images-per-day"),
        (with_flag("images-per-day", targeting={"if": [True, "b"]}), FlagProblem.WRONG_VALUE, "images-per-day"),
        ('{"flags": {}, "metadata": {"revision": "7"}}', FlagProblem.WRONG_VALUE, "revision"),
        ('{"flags": {}, "metadata": {"revision": true}}', FlagProblem.WRONG_VALUE, "revision"),
        ('{"flags": {}, "metadata": {"revision": -1}}', FlagProblem.WRONG_VALUE, "revision"),
        ('{"flags": {}, "metadata": {"revision": 1.5}}', FlagProblem.WRONG_VALUE, "revision"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(text: str, problem: FlagProblem, says: str) -> None:
    """Each way of being wrong has its kind and a message that names the place."""
    with pytest.raises(FlagSetError, match=says) as caught:
        parse_flag_set(text, CONTEXTS)
    assert caught.value.problem is problem


def test_a_rule_that_is_broken_in_one_region_only_is_found() -> None:
    """Every tier and region is tried, not only the pod's own."""
    targeting = {"if": [{"==": [{"var": "region"}, "us"]}, "missing", "a"]}
    with pytest.raises(FlagSetError, match="missing|variants"):
        parse_flag_set(with_flag("images-per-day", targeting=targeting), CONTEXTS)
    assert parse_flag_set(with_flag("images-per-day", targeting=targeting), CONTEXTS[:1]).num_flags == 1


def test_flags_of_others_are_left_alone() -> None:
    """A flag that admission never asks for may hold anything."""
    assert parse_flag_set(with_flag("somebody-else", variants={"a": [1]}), CONTEXTS).num_flags == 1


def test_the_ends_of_limits_are_read_from_the_rules() -> None:
    """The times that rules compare with the present are the earliest moments at which something may end."""
    flags = json.loads(flag_document(3, seconds=100.0, images_per_day=5))["flags"]
    flags |= json.loads(flag_document(3, seconds=50.0, admission_ratio=0.5))["flags"]
    provider = GuardedFlagProvider(CONTEXTS)
    assert provider.offer(json.dumps({"flags": flags, "metadata": {"revision": 3}}), "test")
    now = time.time()
    first = provider.next_change_unix(now)
    assert first is not None and 40.0 < first - now < 51.0
    later = provider.next_change_unix(first)
    assert later is not None and 90.0 < later - now < 101.0
    assert provider.next_change_unix(later) is None


@given(st.lists(st.one_of(st.none(), st.integers(0, 6), st.just("broken")), max_size=20))
def test_the_revision_in_force_never_falls(offers: list[object]) -> None:
    """Whatever is offered in whatever order, what holds is the last set that was not older than the one before."""
    provider = GuardedFlagProvider(CONTEXTS)
    held: int | None = None
    for offer in offers:
        text = "{" if offer == "broken" else flag_document(offer)  # type: ignore[arg-type]
        accepted = provider.offer(text, "test")
        may = offer != "broken" and (held is None or (offer is not None and offer >= held))  # type: ignore[operator]
        assert accepted == may
        held = offer if may else held  # type: ignore[assignment]
        assert provider.state().revision == (held or 0)


def test_without_flags_everybody_has_the_normal_values() -> None:
    """A set that names nothing, and no set at all, mean the same."""
    provider = GuardedFlagProvider(CONTEXTS)
    reader = FlagReader(provider, "digits")
    assert reader.read(ANN, FREE) == normal_values(FREE)
    assert provider.offer(flag_document(1), "test")
    assert reader.read(ANN, FREE) == normal_values(FREE)
    assert reader.num_errors == 0


def test_values_reach_only_their_scope() -> None:
    """A limit of the free tier in eu is nobody else's."""
    provider = GuardedFlagProvider(CONTEXTS)
    reader = FlagReader(provider, "digits")
    limits = {"images_per_day": 3, "admission_ratio": 0.25, "limit_reason": "heat", "max_concurrent_images": 1}
    assert provider.offer(flag_document(2, **limits), "test")
    values = reader.read(ANN, FREE)
    assert (values.images_per_day, values.admission_ratio, values.limit_reason) == (3, 0.25, "heat")
    payer = Caller(user="user:bob", kind=CallerKind.NAMED, tier="paid", region="eu")
    abroad = Caller(user="user:ann", kind=CallerKind.NAMED, tier="free", region="us")
    assert reader.read(payer, PAID) == normal_values(PAID)
    assert reader.read(abroad, FREE) == normal_values(FREE)


@pytest.mark.parametrize("position", range(len(policy().ladder.steps)))
def test_every_set_that_the_controller_writes_is_taken(position: int) -> None:
    """The operator's renderer and the pod agree at every position of the ladder, and limits arrive as they are set."""
    rules = policy()
    step = rules.ladder.steps[position]
    request = FlagRequest(
        policy=rules,
        positions={region.name: position for region in rules.regions},
        reasons={region.name: "heat" for region in rules.regions},
        flags=(),
        decision_id="decision-5",
        revision=5,
        expires_at=datetime.now(UTC) + timedelta(seconds=600),
    )
    region = rules.regions[0].name
    tiers = tuple(tier.name for tier in rules.tiers)
    provider = GuardedFlagProvider(evaluation_contexts(tiers, (region,), "digits"))
    reader = FlagReader(provider, "digits")
    assert provider.offer(render_flags(request).text, "test")
    state = provider.state()
    assert (state.revision, state.version) == (5, "decision-5")
    free = next(tier for tier in rules.tiers if not tier.protected and not tier.deferrable)
    caller = Caller(user="user:ann", kind=CallerKind.NAMED, tier=free.name, region=region)
    values = reader.read(caller, FREE)
    assert values.generation_enabled == step.generation_enabled
    if step.images_per_day is not None and step.images_per_day < free.images_per_day:
        assert values.images_per_day == step.images_per_day
    if values.admission_ratio < 1.0 or not values.generation_enabled:
        assert values.limit_reason == "heat"
        change_at = provider.next_change_unix(time.time())
        assert change_at is not None and change_at > time.time()
