"""The custom resources: one source for manifests and parsing, and errors that name the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import UsageError
from controller.operator.resources.manifests import definitions, rendered
from controller.operator.resources.parse import parse_policy_spec, parse_pool, policy_of
from controller.types import Ownership, PausedDirection, Rung
from tests.operator_samples import policy_object, pool_object

CRDS = Path(__file__).parents[2] / "manifests" / "crds"


@pytest.mark.parametrize("name", sorted(rendered()))
def test_the_manifests_are_what_the_shapes_say(name):
    """The committed definitions are exactly what the shapes make."""
    assert (CRDS / name).read_text(encoding="utf-8") == rendered()[name]


def test_every_field_is_explained():
    """Every field of both kinds carries a description."""

    def unexplained(schema, place):
        for key, value in schema.get("properties", {}).items():
            if "description" not in value:
                yield f"{place}.{key}"
            yield from unexplained(value, f"{place}.{key}")
            yield from unexplained(value.get("items", {}), f"{place}.{key}[]")

    for definition in definitions().values():
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        for part in ("spec", "status"):
            assert list(unexplained(schema[part], part)) == []


def test_a_pool_becomes_what_planner_and_adapters_know():
    """Names, bounds and durations arrive in base units, the target's namespace defaults to the pool's."""
    pool = parse_pool(pool_object(ownership="floor", initDeadline="1h30m", workload={"name": "images"}))

    assert (pool.spec.name, pool.spec.region, pool.spec.min_nodes, pool.spec.max_nodes) == ("eu-h100", "eu", 2, 8)
    assert (pool.spec.lead_time_p50_seconds, pool.spec.lead_time_p95_seconds) == (300.0, 600.0)
    assert pool.spec.ownership is Ownership.FLOOR
    assert pool.target.init_deadline_seconds == 5400.0
    assert pool.target.target.text == "Deployment default/eu-h100"
    assert pool.workload is not None and pool.workload.reference.text == "Deployment default/images"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"minNodes": 9}, "spec: minNodes must not exceed maxNodes"),
        ({"maxNodes": "8"}, "spec.maxNodes: expected `int`, got `str`"),
        ({"target": {}}, "spec.target: give exactly one target"),
        ({"target": {"asg": {"name": "a"}, "eks": {"cluster": "c", "nodegroup": "n"}}}, "spec.target: give exactly"),
        ({"target": {"scale": {"kind": "Deployment", "name": "x"}}}, "spec.target.scale: object missing required"),
        ({"leadTime": {"p50": "20m", "p95": "10m"}}, "spec.leadTime: leadTime.p50 must not exceed"),
        ({"leadTime": {"p50": "soon"}}, "spec.leadTime.p50: "),
        ({"ownership": "buffer"}, "spec: ownership buffer needs buffer.podTemplate"),
        ({"maxNode": 3}, "spec: object contains unknown field `maxNode`"),
    ],
)
def test_an_unusable_pool_names_the_field(change, place):
    """Whatever is wrong with a pool, the message begins with where."""
    with pytest.raises(UsageError) as refused:
        parse_pool(pool_object(**change))
    assert str(refused.value).startswith(place)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"tiers": []}, "spec.tiers: "),
        (
            {"tiers": [{"name": "paid", "priority": 1, "protected": True, "harmPerLimitedRequest": 1}]},
            "spec.tiers: at least one tier must not be protected",
        ),
        (
            {
                "tiers": [
                    {"name": "free", "priority": 2, "harmPerLimitedRequest": 1},
                    {"name": "paid", "priority": 1, "protected": True, "harmPerLimitedRequest": 1},
                ]
            },
            "spec.tiers: a protected tier must have a higher priority",
        ),
        ({"regions": [{"name": "eu"}, {"name": "eu"}]}, "spec.regions[1].name: 'eu' stands there twice"),
        ({"regions": [{"name": "eu", "mayServe": ["us"]}]}, "spec.regions: mayServe names a region"),
        (
            {"ladder": [{"rung": 4, "enter": {"marginCelsius": 8}, "exit": {"marginCelsius": 8}}]},
            "spec.ladder[0]: exit.marginCelsius must be above",
        ),
        (
            {"ladder": [{"rung": 7, "enter": {"marginCelsius": 1}, "exit": {"marginCelsius": 2}}]},
            "spec.ladder[0]: rung 7 limits paid work",
        ),
        ({"flags": {}}, "spec.flags: give at least one"),
        ({"flagTtl": "20s"}, "spec: flagTtl must be at least 30s"),
        ({"flagTtl": "1m", "flagPropagation": "25s"}, "spec: flagTtl must be at least 30s"),
        (
            {"events": [{"name": "e", "start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z", "factor": 2}]},
            "spec.events[0]: an event must start before it ends",
        ),
        ({"workload": {"tokensPerImage": 0, "tokensPerSecondPerGpu": 1}}, "spec.workload.tokensPerImage: "),
    ],
)
def test_an_unusable_policy_names_the_field(change, place):
    """Whatever is wrong with a policy, the message begins with where."""
    with pytest.raises(UsageError) as refused:
        parse_policy_spec(policy_object(**change))
    assert str(refused.value).startswith(place)


def test_a_written_ladder_gets_its_positions():
    """Each step of a rung is one position, mildest first, and "observe" is always the first."""
    margins = {"enter": {"marginCelsius": 5}, "exit": {"marginCelsius": 6}}
    ladder = [
        {"rung": 5, "steps": [0.25, 0.5], **margins},
        {"rung": 4, "steps": [3, 10], **margins},
        {"rung": 7, "approval": "manual", **margins},
    ]
    spec = parse_policy_spec(policy_object(ladder=ladder))
    steps = policy_of("images", spec, (parse_pool(pool_object()).spec,)).ladder.steps

    assert [step.rung for step in steps] == [0, 4, 4, 5, 5, 7]
    assert [step.images_per_day for step in steps[1:5]] == [10, 3, 3, 3]
    assert [step.admission_ratio for step in steps[3:]] == [0.5, 0.25, 0.5]
    assert steps[-1].approval.value == "manual" and steps[-1].rung is Rung.PAID_IMPACT


def test_no_ladder_means_the_default_one():
    """Without a ladder the policy takes the default for the strictest margin target of its pools."""
    pools = (parse_pool(pool_object(thermal={"marginTargetCelsius": 9})).spec,)
    ladder = policy_of("images", parse_policy_spec(policy_object()), pools).ladder
    assert ladder.steps[-1].enter_margin_celsius == 9.0


@pytest.mark.parametrize(
    ("field", "annotation", "expected"),
    [("none", "scaleIn", "scaleIn"), ("scaleOut", "scaleIn", "all"), ("scaleIn", "none", "scaleIn")],
)
def test_field_and_annotation_pause_together(field, annotation, expected):
    """A pool moves only where neither the field nor the annotation pauses it."""
    entry = pool_object(paused=field)
    entry["metadata"]["annotations"] = {"meltguard.dev/paused": annotation}
    assert parse_pool(entry).spec.paused is PausedDirection(expected)


def test_an_unknown_pause_is_refused():
    """A misspelt direction must not count as "not paused"."""
    entry = pool_object()
    entry["metadata"]["annotations"] = {"meltguard.dev/paused": "scale-in"}
    with pytest.raises(UsageError, match=r"meltguard.dev/paused.*scale-in"):
        parse_pool(entry)
