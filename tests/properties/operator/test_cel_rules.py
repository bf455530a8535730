"""The rules of the custom resources mean the same in CEL, for the API server, and in Python, for the operator."""

from __future__ import annotations

import sys
from typing import Any

import celpy
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from controller.operator.resources.gpu_pool import GPUPoolSpec
from controller.operator.resources.rules import POLICY_RULES, POOL_RULES, Rule, _values
from controller.operator.resources.surge_policy import SurgePolicySpec
from tests.operator_samples import policy_object, pool_object

durations = st.sampled_from(["1s", "10s", "15s", "29s", "30s", "45s", "90s", "2m", "5m", "1h"])
names = st.sampled_from(["eu", "us", "ap"])
times = st.sampled_from(
    ["2025-03-31T15:00:00Z", "2025-03-31T15:00:00+02:00", "2025-03-31T13:00:00Z", "2025-04-01T00:00:00Z"]
)
target_kinds: dict[str, Any] = {
    "scale": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
    "eks": {"cluster": "c", "nodegroup": "n"},
    "asg": {"name": "a"},
}

pools = st.fixed_dictionaries(
    {
        "minNodes": st.integers(0, 4),
        "maxNodes": st.integers(1, 4),
        "target": st.sets(st.sampled_from(sorted(target_kinds)), max_size=2).map(
            lambda kinds: {kind: target_kinds[kind] for kind in kinds}
        ),
        "leadTime": st.fixed_dictionaries({"p50": durations, "p95": durations}),
        "ownership": st.sampled_from(["desired", "floor", "buffer"]),
    },
    optional={"buffer": st.just({"podTemplate": "spare"})},
).map(lambda spec: pool_object(**spec)["spec"])

tiers = st.lists(
    st.fixed_dictionaries(
        {
            "name": names,
            "priority": st.integers(0, 3),
            "protected": st.booleans(),
            "harmPerLimitedRequest": st.just(0.1),
        }
    ),
    min_size=1,
    max_size=3,
)
regions = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"mayServe": st.lists(names, max_size=2)}), min_size=1, max_size=3
)
rungs = st.lists(
    st.fixed_dictionaries(
        {
            "rung": st.integers(3, 7),
            "action": st.just("shape"),
            "enter": st.fixed_dictionaries({"marginCelsius": st.integers(3, 6)}),
            "exit": st.fixed_dictionaries({"marginCelsius": st.integers(3, 6)}),
            "approval": st.sampled_from(["automatic", "manual"]),
        },
        optional={"steps": st.lists(st.sampled_from([0.5, 1.0, 3.0]), max_size=2)},
    ),
    max_size=2,
)
signal = st.fixed_dictionaries({"query": st.just("up"), "step": durations})
policies = st.fixed_dictionaries(
    {"flagTtl": durations, "flagPropagation": durations, "tiers": tiers, "regions": regions, "ladder": rungs},
    optional={
        "signals": st.fixed_dictionaries({}, optional={"requests": signal, "signups": signal}),
        "flags": st.fixed_dictionaries(
            {}, optional={"configMap": st.just({"name": "a"}), "sync": st.just({"port": 1})}
        ),
        "events": st.lists(
            st.fixed_dictionaries({"start": times, "end": times, "name": st.just("a"), "factor": st.just(2.0)}),
            max_size=2,
        ),
    },
).map(lambda spec: policy_object(**spec)["spec"])


def with_defaults(value: Any) -> Any:
    """Return a parsed value as the API server holds it: defaults filled in, absent fields absent."""
    if isinstance(value, dict):
        return {key: with_defaults(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [with_defaults(entry) for entry in value]
    return value


def at_path(spec: Any, path: tuple[str, ...]) -> list[Any]:
    """Return the values of a plain object at a rule's path."""
    found = [spec]
    for step in path:
        if step == "[]":
            found = [item for value in found for item in value]
        else:
            found = [value[step] for value in found if step in value]
    return found


def compiled() -> dict[str, Any]:
    """Return the program of every rule by its text; the library raises the recursion limit, which is put back."""
    limit = sys.getrecursionlimit()
    environment = celpy.Environment()
    programs = {
        rule.expression: environment.program(environment.compile(rule.expression))
        for rule in (*POOL_RULES, *POLICY_RULES)
    }
    sys.setrecursionlimit(limit)
    return programs


PROGRAMS = compiled()


def in_cel(rule: Rule, value: Any) -> bool:
    """Evaluate a rule's CEL text."""
    return bool(PROGRAMS[rule.expression].evaluate({"self": celpy.json_to_cel(value)}))


def agree(rules: tuple[Rule, ...], raw: dict[str, Any], kind: type) -> None:
    """Assert that both forms of every rule say the same of an object that has the right shape."""
    try:
        spec = msgspec.convert(raw, kind)
    except msgspec.ValidationError:
        return
    plain = with_defaults(msgspec.to_builtins(spec))
    for rule in rules:
        parsed = [value for _, value in _values(spec, rule.path, "spec") if value is not None]
        held = at_path(plain, rule.path)
        assert [rule.holds(value) for value in parsed] == [in_cel(rule, value) for value in held], rule.expression


@given(pools)
def test_pool_rules_agree(raw: dict[str, Any]) -> None:
    """On any pool of the right shape CEL and Python decide alike, rule by rule."""
    agree(POOL_RULES, raw, GPUPoolSpec)


@given(policies)
def test_policy_rules_agree(raw: dict[str, Any]) -> None:
    """On any policy of the right shape CEL and Python decide alike, rule by rule."""
    agree(POLICY_RULES, raw, SurgePolicySpec)
