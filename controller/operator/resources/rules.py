"""Rules that a schema cannot say: each once in CEL, for API servers from 1.25 on, and once in Python, for the others.

The operator checks every object in Python whatever the API server did, so that an object that slipped past becomes a
condition and never a crash. A test evaluates the CEL texts beside the Python functions on random objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.errors import UsageError
from controller.operator.resources.fields import duration_seconds
from controller.operator.resources.gpu_pool import LeadTime, Target
from controller.operator.resources.surge_policy import Event, LadderRung, Region, SurgePolicySpec, Tier
from controller.types import Approval, Ownership


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        path: Where it stands in the schema: keys below ``spec``, with ``[]`` for the items of a list.
        expression: CEL; ``self`` is the value at the path.
        message: What to do, as the API server shows it.
        holds: The same in Python; takes the parsed value at the path.
    """

    path: tuple[str, ...]
    expression: str
    message: str
    holds: Callable[[Any], bool]


TARGETS = ("scale", "eks", "asg", "gke", "aks", "coreweave")


def _one_target(target: Target) -> bool:
    return sum(getattr(target, name) is not None for name in TARGETS) == 1


def _lead_time_in_order(lead: LeadTime) -> bool:
    return duration_seconds(lead.p50, place="p50") <= duration_seconds(lead.p95, place="p95")


def _tiers_in_order(tiers: list[Tier]) -> bool:
    return all(low.priority < high.priority for high in tiers if high.protected for low in tiers if not low.protected)


def _known_regions(regions: list[Region]) -> bool:
    names = {region.name for region in regions}
    return all(other in names for region in regions for other in region.may_serve)


def _event_in_order(event: Event) -> bool:
    try:
        return datetime.fromisoformat(event.start) < datetime.fromisoformat(event.end)
    except (ValueError, TypeError):
        return False


def _ttl_long_enough(spec: SurgePolicySpec) -> bool:
    ttl = duration_seconds(spec.flag_ttl, place="flagTtl")
    return ttl >= 30.0 and ttl >= 3.0 * duration_seconds(spec.flag_propagation, place="flagPropagation")


def _steps_are_shares(entry: LadderRung) -> bool:
    return entry.rung not in (5, 7) or all(step <= 1.0 for step in entry.steps)


POOL_RULES: tuple[Rule, ...] = (
    Rule(
        path=(),
        expression="self.minNodes <= self.maxNodes",
        message="minNodes must not exceed maxNodes",
        holds=lambda spec: spec.min_nodes <= spec.max_nodes,
    ),
    Rule(
        path=(),
        expression="self.ownership != 'buffer' || has(self.buffer)",
        message="ownership buffer needs buffer.podTemplate",
        holds=lambda spec: spec.ownership is not Ownership.BUFFER or spec.buffer is not None,
    ),
    Rule(
        path=("target",),
        expression="[" + ", ".join(f"has(self.{name})" for name in TARGETS) + "].filter(x, x).size() == 1",
        message="give exactly one target: scale, eks, asg, gke, aks or coreweave",
        holds=_one_target,
    ),
    Rule(
        path=("leadTime",),
        expression="duration(self.p50) <= duration(self.p95)",
        message="leadTime.p50 must not exceed leadTime.p95",
        holds=_lead_time_in_order,
    ),
)

POLICY_RULES: tuple[Rule, ...] = (
    Rule(
        path=(),
        expression="duration(self.flagTtl) >= duration('30s')"
        " && duration(self.flagTtl) >= duration(self.flagPropagation)"
        " + duration(self.flagPropagation) + duration(self.flagPropagation)",
        message="flagTtl must be at least 30s and three times flagPropagation",
        holds=_ttl_long_enough,
    ),
    Rule(
        path=("signals",),
        expression="!has(self.requests) || !has(self.signups) || self.requests.step == self.signups.step",
        message="requests and signups must have the same step",
        holds=lambda signals: (
            signals.requests is None or signals.signups is None or signals.requests.step == signals.signups.step
        ),
    ),
    Rule(
        path=("flags",),
        expression="has(self.configMap) || has(self.featureFlag) || has(self.sync)",
        message="give at least one of configMap, featureFlag and sync",
        holds=lambda flags: any((flags.config_map, flags.feature_flag, flags.sync)),
    ),
    Rule(
        path=("tiers",),
        expression="self.exists(t, !t.protected)",
        message="at least one tier must not be protected, or nothing may be limited",
        holds=lambda tiers: any(not tier.protected for tier in tiers),
    ),
    Rule(
        path=("tiers",),
        expression="self.all(p, !p.protected || self.all(u, u.protected || u.priority < p.priority))",
        message="a protected tier must have a higher priority than every tier that is not",
        holds=_tiers_in_order,
    ),
    Rule(
        path=("regions",),
        expression="self.all(r, !has(r.mayServe) || r.mayServe.all(m, self.exists(o, o.name == m)))",
        message="mayServe names a region that the policy does not have",
        holds=_known_regions,
    ),
    Rule(
        path=("ladder", "[]"),
        expression="self.exit.marginCelsius > self.enter.marginCelsius",
        message="exit.marginCelsius must be above enter.marginCelsius",
        holds=lambda entry: entry.exit.margin_celsius > entry.enter.margin_celsius,
    ),
    Rule(
        path=("ladder", "[]"),
        expression="self.rung < 7 || self.approval == 'manual'",
        message="rung 7 limits paid work and needs approval: manual",
        holds=lambda entry: entry.rung < 7 or entry.approval is Approval.MANUAL,
    ),
    Rule(
        path=("ladder", "[]"),
        expression="!(self.rung in [5, 7]) || !has(self.steps) || self.steps.all(s, s <= 1.0)",
        message="the steps of rungs 5 and 7 are shares between 0 and 1",
        holds=_steps_are_shares,
    ),
    Rule(
        path=("events", "[]"),
        expression="timestamp(self.start) < timestamp(self.end)",
        message="an event must start before it ends, both as RFC 3339 with a zone",
        holds=_event_in_order,
    ),
)

LIST_KEYS: dict[tuple[str, ...], str] = {
    ("tiers",): "name",
    ("regions",): "name",
    ("ladder",): "rung",
    ("events",): "name",
}
"""Lists whose items are told apart by a field, so that two people can own one item each (``listType: map``)."""


def check_rules(spec: object, rules: tuple[Rule, ...]) -> None:
    """Check the rules of a kind.

    Args:
        spec: The parsed spec.
        rules: Its rules.

    Raises:
        UsageError: For the first rule that does not hold; names the field.
    """
    for rule in rules:
        for place, value in _values(spec, rule.path, "spec"):
            if value is not None and not rule.holds(value):
                raise UsageError(f"{place}: {rule.message}")


def check_keys(spec: SurgePolicySpec) -> None:
    """Check that the items of keyed lists differ in their key.

    Raises:
        UsageError: Naming the second item of a pair.
    """
    for (path,), key in LIST_KEYS.items():
        seen: set[object] = set()
        for index, entry in enumerate(getattr(spec, path)):
            value = getattr(entry, key)
            if value in seen:
                raise UsageError(f"spec.{path}[{index}].{key}: {value!r} stands there twice")
            seen.add(value)


def _values(value: object, path: tuple[str, ...], place: str) -> list[tuple[str, object]]:
    """Return the values at a path with their places."""
    if not path:
        return [(place, value)]
    head, *rest = path
    if head == "[]":
        items = value if isinstance(value, list) else []
        pairs = [(f"{place}[{index}]", entry) for index, entry in enumerate(items)]
    else:
        attribute = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in head)
        pairs = [(f"{place}.{head}", getattr(value, attribute, None))]
    return [found for at, entry in pairs if entry is not None for found in _values(entry, tuple(rest), at)]
