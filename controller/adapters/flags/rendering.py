"""The one renderer of flags: positions on the ladder in, flagd's JSON out, every limit with its own end.

Schema of the format: https://flagd.dev/schema/v0/flags.json. A flag that is normal resolves to the consumer's own
default where that may differ between tiers (quotas), so a set without limits and no set at all mean the same. The
FeatureFlag resource cannot say that and gets the policy's normal values. Pure; called by the operator and its tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.adapters.flags.stages import SPREAD_PARTS, Course, Handover, courses
from controller.adapters.ports import RenderedFlags
from controller.planning.flags import normal_value
from controller.types import FlagInForce, FlagValue, Plan, Policy

FLAG_SET_ID = "meltguard"
NO_REASON = "none"
SALT = "meltguard:"
"""Put before the user's id, so that the same users move on at the same time whichever flag is asked."""

_USUAL: dict[str, FlagValue | None] = {
    "image-generation-enabled": True,
    "images-per-day": None,
    "images-per-hour": None,
    "max-concurrent-images": None,
    "admission-ratio": 1.0,
    "limit-reason": NO_REASON,
    "batch-admitted": True,
}
"""Every key of the contract but the routing hints; None leaves the normal value to the consumer."""

Rule = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRequest:
    """What a flag set is to say.

    Attributes:
        policy: Tiers, ladder and times to live.
        positions: Each region's position on the ladder.
        reasons: Message id that users of a limited region are shown, by region.
        flags: The limits as the planner knows them; they must be those of the positions.
        decision_id: The decision behind it.
        revision: Revision of the set, above the stored one.
        expires_at: When the positions end unless they are renewed.
        region_weights: Routing hints, share of routable traffic by region; they expire with the first stage.
    """

    policy: Policy
    positions: Mapping[str, int]
    reasons: Mapping[str, str]
    flags: tuple[FlagInForce, ...]
    decision_id: str
    revision: int
    expires_at: datetime
    region_weights: Mapping[str, float] = field(default_factory=dict)


def request_of_plan(plan: Plan, policy: Policy, *, revision: int, expires_at: datetime) -> FlagRequest:
    """Return the request that carries out a plan.

    Args:
        plan: The decision; its ``flags`` must not be None.
        policy: What it was decided under.
        revision: Revision of the set, above the stored one.
        expires_at: When its positions end unless they are renewed.

    Returns:
        The request.

    Raises:
        ValueError: If the plan leaves the flags as they are.
    """
    if plan.flags is None:
        raise ValueError(f"decision {plan.decision_id} writes no flags")
    return FlagRequest(
        policy=policy,
        positions={verdict.region: verdict.step_index for verdict in plan.regions},
        reasons={verdict.region: verdict.why.code for verdict in plan.regions},
        flags=plan.flags,
        decision_id=plan.decision_id,
        revision=revision,
        expires_at=expires_at,
    )


def render_flags(request: FlagRequest, *, with_feature_flag: bool = False) -> RenderedFlags:
    """Render a flag set.

    Args:
        request: What it is to say.
        with_feature_flag: Render it for the FeatureFlag resource, too, where every flag has a default variant.

    Returns:
        The set; equal requests give equal text.
    """
    placed = _placed(request)
    ends = [until for rows in placed.values() for row in rows if (until := row.course.ends_seconds) is not None]
    return RenderedFlags(
        text=_text(request, placed, explicit_defaults=False),
        revision=request.revision,
        decision_id=request.decision_id,
        flags=request.flags,
        ends_at=datetime.fromtimestamp(max(ends), tz=UTC) if ends else None,
        feature_flag_text=_text(request, placed, explicit_defaults=True) if with_feature_flag else None,
    )


def _text(request: FlagRequest, placed: dict[str, list[_Placed]], *, explicit_defaults: bool) -> str:
    """Return the document."""
    flags = {
        key: _flag(request.policy, key, usual, placed.get(key, []), explicit_defaults=explicit_defaults)
        for key, usual in _USUAL.items()
        if not (explicit_defaults and usual is None and key not in placed)
    }
    flags["region-weights"] = _weights(request)
    document = {
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "metadata": {"flagSetId": FLAG_SET_ID, "version": request.decision_id, "revision": request.revision},
        "flags": flags,
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """One course and whom it is for."""

    regions: tuple[str, ...]
    tier: str
    course: Course


def _placed(request: FlagRequest) -> dict[str, list[_Placed]]:
    """Return every flag's courses; regions that share a position share a rule."""
    grouped: dict[str, dict[tuple[str, Course], list[str]]] = {}
    for region, index in request.positions.items():
        for tier in request.policy.tiers:
            found = dict(courses(request.policy, index, tier, request.expires_at))
            if found:
                found["limit-reason"] = _until(found.values(), request.reasons.get(region, "limited"))
            for key, course in found.items():
                grouped.setdefault(key, {}).setdefault((tier.name, course), []).append(region)
    return {
        key: [_Placed(regions=tuple(regions), tier=tier, course=course) for (tier, course), regions in rows.items()]
        for key, rows in grouped.items()
    }


def _until(limits: Iterable[Course], reason: str) -> Course:
    """Return the course of the reason: shown until the last of the limits is over."""
    end = max(course.ends_seconds or 0 for course in limits)
    return Course(handovers=(Handover(until_seconds=end, value=reason, next_value=reason, parts_moved=0),))


def _flag(
    policy: Policy, key: str, usual: FlagValue | None, rows: list[_Placed], *, explicit_defaults: bool
) -> dict[str, object]:
    """Return one flag."""
    values: dict[str, FlagValue] = {} if usual is None else {_name(usual): usual}
    normal: dict[str, str] = {}
    if usual is None and explicit_defaults:
        quotas = {tier.name: normal_value(key, tier) for tier in policy.tiers}
        values |= {_name(value): value for value in quotas.values() if value is not None}
        normal = {tier: _name(value) for tier, value in quotas.items() if value is not None}
    branches: list[object] = []
    for row in rows:
        branches += [_matches(row), _outcome(row.course, normal.get(row.tier))]
        for handover in row.course.handovers:
            values |= {_name(v): v for v in (handover.value, handover.next_value) if v is not None}
    for tier, name in normal.items():
        branches += [{"==": [{"var": "tier"}, tier]}, name]
    default = None if usual is None else _name(usual)
    if usual is None and explicit_defaults:
        default = max(values, key=lambda name: values[name])
    if not values:
        # The schema asks for a variant; without a default and a rule nobody is ever given it.
        values = {"0": 0}
    flag: dict[str, object] = {"state": "ENABLED", "variants": values, "defaultVariant": default}
    if branches:
        flag["targeting"] = {"if": [*branches, None]}
    return flag


def _matches(row: _Placed) -> Rule:
    """Return the condition on region and tier."""
    region: Rule = {"in": [{"var": "region"}, list(row.regions)]}
    return {"and": [region, {"==": [{"var": "tier"}, row.tier]}]}


def _outcome(course: Course, normal: str | None) -> Rule:
    """Return the rule that resolves a course by the time of the evaluation; ``normal`` is the variant at its end."""
    branches: list[object] = []
    for handover in course.handovers:
        branches += [{"<": [{"var": "$flagd.timestamp"}, handover.until_seconds]}, _shared(handover, normal)]
    return {"if": [*branches, normal]}


def _shared(handover: Handover, normal: str | None) -> object:
    """Return a variant, or the split of the users over two."""
    now = normal if handover.value is None else _name(handover.value)
    if handover.parts_moved == 0:
        return now
    then = normal if handover.next_value is None else _name(handover.next_value)
    bucket = {"cat": [SALT, {"var": "targetingKey"}]}
    shares = [["then", handover.parts_moved], ["now", SPREAD_PARTS - handover.parts_moved]]
    # The split names a side, not a variant, for a side may be the normal value, which has none.
    return {"if": [{"==": [{"fractional": [bucket, *shares]}, "then"]}, then, now]}


def _weights(request: FlagRequest) -> dict[str, object]:
    """Return the routing hints; an empty object is no hint."""
    flag: dict[str, object] = {"state": "ENABLED", "variants": {"none": {}}, "defaultVariant": "none"}
    if request.region_weights:
        flag["variants"] = {"none": {}, "hints": dict(request.region_weights)}
        until = round(request.expires_at.timestamp())
        flag["targeting"] = {"if": [{"<": [{"var": "$flagd.timestamp"}, until]}, "hints", None]}
    return flag


def _name(value: FlagValue) -> str:
    """Return the name of the variant that holds a value."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else f"{value:g}"
