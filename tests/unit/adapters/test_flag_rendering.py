"""Rendered flags as flagd itself evaluates them: scopes, expiry in stages, defaults; and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import pytest

from controller.adapters.flags.stages import MAX_EXPIRY_SECONDS, expiry_path, stage_seconds
from controller.adapters.flags.validation import FlagSetError, validate_flags
from controller.types import Rung
from tests.flag_samples import CODE_DEFAULT, USERS, Consumer, first_of, policy, rendered, rendered_ago
from tests.planning_samples import NOW

LIVE = -60.0
DISABLED = first_of(Rung.DISABLE_FREE)
SHED = first_of(Rung.SHED)
QUOTA = first_of(Rung.LOWER_FREE_QUOTA)


def _stage_seconds(position: int) -> float:
    return stage_seconds(policy(), len(expiry_path(policy().ladder, position)) - 1)


def test_a_limit_reaches_only_its_region_and_tier() -> None:
    """A live limit holds for the tier and region of its position and for nobody else."""
    consumer = Consumer(rendered_ago({"r0": DISABLED, "r1": QUOTA}, seconds_past_expiry=LIVE))

    assert not consumer.boolean("image-generation-enabled", region="r0", tier="free")
    assert consumer.boolean("image-generation-enabled", region="r0", tier="paid")
    assert consumer.boolean("image-generation-enabled", region="r1", tier="free")
    assert consumer.boolean("image-generation-enabled", region="elsewhere", tier="free")
    assert consumer.integer("images-per-day", region="r1", tier="free") == 10
    assert consumer.integer("images-per-day", region="r1", tier="paid") == CODE_DEFAULT
    assert not consumer.boolean("batch-admitted", region="r1", tier="batch")
    assert consumer.text("limit-reason", region="r1", tier="free") == "forecast_margin_low"
    assert consumer.text("limit-reason", region="r1", tier="paid") == "none"
    assert consumer.metadata == {"flagSetId": "meltguard", "version": "d-7", "revision": 7}


def test_a_limit_ends_in_stages_to_the_next_milder_rung() -> None:
    """Without renewal a disabled region sheds next, then has quotas, and is normal within the bound."""
    stage = _stage_seconds(DISABLED)
    first = Consumer(rendered_ago({"r0": DISABLED}, seconds_past_expiry=stage - 2.0))
    assert first.boolean("image-generation-enabled", region="r0", tier="free")
    assert first.ratio("admission-ratio", region="r0", tier="free") == pytest.approx(0.1)
    assert first.integer("images-per-day", region="r0", tier="free") == 3

    fourth = Consumer(rendered_ago({"r0": DISABLED}, seconds_past_expiry=4.0 * stage - 2.0))
    assert fourth.ratio("admission-ratio", region="r0", tier="free") == 1.0
    assert fourth.integer("images-per-day", region="r0", tier="free") == 3

    gone = Consumer(rendered_ago({"r0": DISABLED}, seconds_past_expiry=MAX_EXPIRY_SECONDS))
    assert gone.integer("images-per-day", region="r0", tier="free") == CODE_DEFAULT
    assert gone.boolean("batch-admitted", region="r0", tier="batch")
    assert gone.text("limit-reason", region="r0", tier="free") == "none"


@pytest.mark.parametrize("part", [1, 2, 3, 4])
def test_users_move_on_one_part_after_the_other(part: int) -> None:
    """Within a stage a quarter of the users more is at the next rung each quarter, the same users for every flag."""
    seconds = _stage_seconds(DISABLED) * (part - 0.5) / 4.0
    consumer = Consumer(rendered_ago({"r0": DISABLED}, seconds_past_expiry=seconds))

    enabled = {u for u in USERS if consumer.boolean("image-generation-enabled", region="r0", tier="free", user=u)}
    admitted = {u for u in USERS if consumer.ratio("admission-ratio", region="r0", tier="free", user=u) < 1.0}

    assert enabled == admitted
    assert len(enabled) / len(USERS) == pytest.approx(part / 4.0, abs=0.08)


def test_a_set_without_limits_is_no_limit() -> None:
    """At rung 0 every flag resolves to normal, and quotas to the consumer's own default."""
    flags = rendered_ago({"r0": 0, "r1": 0}, seconds_past_expiry=LIVE)
    consumer = Consumer(flags)

    assert flags.ends_at is None
    assert consumer.boolean("image-generation-enabled", region="r0", tier="free", default=False)
    for key in ("images-per-day", "images-per-hour", "max-concurrent-images"):
        assert consumer.integer(key, region="r0", tier="free") == CODE_DEFAULT
    assert consumer.object("region-weights") == {}


def test_explicit_defaults_name_each_tier_its_own_quota() -> None:
    """For the FeatureFlag resource every flag has a default, and an expired quota is the tier's normal one."""
    live = rendered_ago({"r0": QUOTA}, seconds_past_expiry=LIVE, explicit_defaults=True)
    gone = Consumer(rendered_ago({"r0": QUOTA}, seconds_past_expiry=MAX_EXPIRY_SECONDS, explicit_defaults=True))

    assert all(isinstance(flag["defaultVariant"], str) for flag in json.loads(live.text)["flags"].values())
    assert Consumer(live).integer("images-per-day", region="r0", tier="free") == 10
    assert Consumer(live).integer("images-per-day", region="r1", tier="free") == 100
    assert gone.integer("images-per-day", region="r0", tier="free") == 100
    assert gone.integer("images-per-day", region="r0", tier="paid") == 1000


def test_routing_hints_expire_like_limits() -> None:
    """The hints are an object while they live, and no hint afterwards."""
    weights = {"r0": 0.25, "r1": 0.75}
    live = rendered_ago({"r0": 0}, seconds_past_expiry=LIVE, region_weights=weights)
    gone = rendered_ago({"r0": 0}, seconds_past_expiry=1.0, region_weights=weights)

    assert Consumer(live).object("region-weights") == weights
    assert Consumer(gone).object("region-weights") == {}


def test_a_user_without_an_id_moves_on_too() -> None:
    """A request that carries no user id is resolved, before and after the expiry."""
    for seconds in (LIVE, 40.0, MAX_EXPIRY_SECONDS):
        consumer = Consumer(rendered_ago({"r0": SHED}, seconds_past_expiry=seconds))
        assert 0.0 <= consumer.ratio("admission-ratio", region="r0", tier="free", user="") <= 1.0


def test_regions_at_one_position_share_a_rule() -> None:
    """Fifty regions at the same rung cost one rule a flag and limited tier, and far less than a ConfigMap holds.

    Work that is deferred has the flag that defers it and no other.
    """
    many = policy(50)
    flags = rendered({spec.name: SHED for spec in many.regions}, expires_at=NOW, given=many)
    rules = json.loads(flags.text)["flags"]

    for flag in ("admission-ratio", "batch-admitted"):
        rule = rules[flag]["targeting"]["if"]
        assert len(rule) == 2 + 1, f"{flag}: a condition and a value for its one limited tier, and the rest"
    assert len(flags.text) < 30_000


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (("defaultVariant", "absent"), "default variant"),
        (("variants", {"on": 1}), "wrong type"),
        (("variants", {}), "needs the state"),
        (("state", "OFF"), "needs the state"),
        (("targeting", {"if": [{"==": [1, 1]}, "off", None]}), "no expiry"),
        (("targeting", {"if": [{"<": [{"var": "$flagd.timestamp"}, 1]}, "maybe", None]}), "variant maybe"),
    ],
)
def test_a_broken_flag_is_refused(damage: tuple[str, object], complaint: str) -> None:
    """What consumers could not read, and a limit without an end, is refused by name before it is written."""
    document = json.loads(rendered({"r0": DISABLED}, expires_at=NOW).text)
    document["flags"]["image-generation-enabled"][damage[0]] = damage[1]

    with pytest.raises(FlagSetError, match=f"image-generation-enabled.*{complaint}"):
        validate_flags(json.dumps(document))


def test_foreign_documents_are_refused() -> None:
    """Text that is no flag set of ours, or has no revision, is refused."""
    good = json.loads(rendered({"r0": 0}, expires_at=NOW).text)
    for text in (
        "",
        "[]",
        "{}",
        json.dumps({**good, "metadata": {"flagSetId": "other", "version": "1", "revision": 1}}),
    ):
        with pytest.raises(FlagSetError):
            validate_flags(text)


def test_every_rendered_set_is_valid() -> None:
    """Whatever the position, both renderings pass the last look."""
    for position in range(len(policy().ladder.steps)):
        for explicit in (False, True):
            flags = rendered({"r0": position, "r1": 3}, expires_at=NOW, explicit_defaults=explicit)
            assert validate_flags(flags.text) == 7
            if flags.ends_at is not None:
                assert flags.ends_at - NOW <= timedelta(seconds=MAX_EXPIRY_SECONDS)


def test_the_split_is_even() -> None:
    """The hash gives every part of a stage about as many users as the next."""
    values = Counter(
        Consumer(rendered_ago({"r0": SHED}, seconds_past_expiry=_stage_seconds(SHED) / 8.0)).ratio(
            "admission-ratio", region="r0", tier="free", user=user
        )
        for user in USERS[:200]
    )
    assert values[1.0] / 200 == pytest.approx(0.25, abs=0.1)
