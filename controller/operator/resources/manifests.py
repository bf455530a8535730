"""The CustomResourceDefinitions, made from the shapes and rules of this package.

``python -m controller.operator.resources.manifests`` writes ``manifests/crds/``; a test fails when those files differ.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from controller.operator.resources.fields import GROUP, VERSION
from controller.operator.resources.gpu_pool import GPUPoolSpec, GPUPoolStatus
from controller.operator.resources.rules import LIST_KEYS, POLICY_RULES, POOL_RULES, Rule
from controller.operator.resources.surge_policy import SurgePolicySpec, SurgePolicyStatus

HEADER = "# Made by `python -m controller.operator.resources.manifests`; edit the shapes there instead.\n"

_POOL_COLUMNS = (
    ("Region", "string", ".spec.region", 0),
    ("Margin", "number", ".status.thermal.minMarginCelsius", 0),
    ("Hottest", "number", ".status.thermal.maxTemperatureCelsius", 0),
    ("Slowdown-in", "integer", ".status.thermal.secondsToSlowdown", 0),
    ("Desired", "integer", ".status.nodes.desired", 0),
    ("Ready", "integer", ".status.nodes.ready", 0),
    ("Serving", "integer", ".status.nodes.serving", 0),
    ("Doing", "string", ".status.doing", 0),
    ("Healthy", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Why", "string", '.status.conditions[?(@.type=="Ready")].reason', 1),
    ("Owns", "string", ".spec.ownership", 1),
    ("Min", "integer", ".spec.minNodes", 1),
    ("Max", "integer", ".spec.maxNodes", 1),
    ("Paused", "string", '.status.conditions[?(@.type=="Paused")].reason', 1),
    ("Stock-out", "string", '.status.conditions[?(@.type=="StockOut")].status', 1),
    ("Last-scale", "date", ".status.lastScaleTime", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
_POLICY_COLUMNS = (
    ("Mode", "string", ".spec.mode", 0),
    ("Rung", "integer", ".status.highestRung", 0),
    ("Margin", "number", ".status.minMarginCelsius", 0),
    ("Surge", "string", ".status.surge.state", 0),
    ("Doing", "string", ".status.doing", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Why", "string", '.status.conditions[?(@.type=="Ready")].reason', 1),
    ("Limits-end", "string", ".status.activeMitigations[0].expiresAt", 1),
    ("Doubling", "integer", ".status.surge.doublingSeconds", 1),
    ("Breaker", "string", '.status.conditions[?(@.type=="BreakerOpen")].status', 1),
    ("Paused", "string", '.status.conditions[?(@.type=="Paused")].reason', 1),
    ("Decision", "string", ".status.lastDecision.id", 1),
    ("Decided", "date", ".status.lastDecision.time", 0),
    ("Age", "date", ".metadata.creationTimestamp", 1),
)


def definitions() -> dict[str, dict[str, Any]]:
    """Return the definitions by file name, ready to be written or applied."""
    return {
        "gpupools.yaml": _definition(
            "GPUPool", "gpupools", "gpool", _schema(GPUPoolSpec, GPUPoolStatus, POOL_RULES, {}), _POOL_COLUMNS
        ),
        "surgepolicies.yaml": _definition(
            "SurgePolicy",
            "surgepolicies",
            "surge",
            _schema(SurgePolicySpec, SurgePolicyStatus, POLICY_RULES, LIST_KEYS),
            _POLICY_COLUMNS,
        ),
    }


def rendered() -> dict[str, str]:
    """Return the files by name."""
    return {
        name: HEADER + yaml.safe_dump(definition, sort_keys=False, width=110)
        for name, definition in definitions().items()
    }


def _definition(
    kind: str, plural: str, short: str, schema: dict[str, Any], columns: tuple[tuple[str, str, str, int], ...]
) -> dict[str, Any]:
    """Return one CustomResourceDefinition."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind_of, "jsonPath": path, **({"priority": priority} if priority else {})}
            for name, kind_of, path, priority in columns
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["meltguard"],
            },
            "versions": [version],
        },
    }


def _schema(
    spec: type[msgspec.Struct],
    status: type[msgspec.Struct],
    rules: tuple[Rule, ...],
    list_keys: Mapping[tuple[str, ...], str],
) -> dict[str, Any]:
    """Return the structural schema of a kind."""
    _, components = msgspec.json.schema_components([spec, status])
    shapes = {kind: _structural({"$ref": f"#/$defs/{kind.__name__}"}, components) for kind in (spec, status)}
    for rule in rules:
        place = _at(shapes[spec], rule.path)
        entry = {"rule": rule.expression, "message": rule.message}
        place.setdefault("x-kubernetes-validations", []).append(entry)
    for path, key in list_keys.items():
        _at(shapes[spec], path).update({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})
    _without_defaults(shapes[status])
    conditions = shapes[status]["properties"]["conditions"]
    conditions.update({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})
    return {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": shapes[spec],
            "status": shapes[status],
        },
    }


def _at(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the part of a schema at a path."""
    for step in path:
        schema = schema["items"] if step == "[]" else schema["properties"][step]
    return schema


def _structural(node: dict[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema as Kubernetes wants it: no references, no null, bounds as OpenAPI 3.0 writes them."""
    if "anyOf" in node:
        (chosen,) = (option for option in node["anyOf"] if option.get("type") != "null")
        node = {**chosen, **{key: value for key, value in node.items() if key not in ("anyOf", "default")}}
    if "$ref" in node:
        target = components[node["$ref"].removeprefix("#/$defs/")]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    node = {key: value for key, value in node.items() if key not in ("title", "additionalProperties")} | (
        {"additionalProperties": node["additionalProperties"]}
        if isinstance(node.get("additionalProperties"), dict)
        else {}
    )
    if "enum" in node:
        node.setdefault("type", "string")
    if "exclusiveMinimum" in node:
        node |= {"minimum": node["exclusiveMinimum"], "exclusiveMinimum": True}
    # typing keeps one annotation for 0 and 0.0, whichever module was imported first; the manifest must not change.
    node |= {key: int(node[key]) for key in ("minimum", "maximum") if key in node and node[key] == int(node[key])}
    if not node.get("required"):
        node.pop("required", None)
    if node.get("default") in (None, "", []):
        node.pop("default", None)  # an absent field means the same, and old API servers stumble over empty defaults
    else:
        node["default"] = _without_null(node["default"])
    if "properties" in node:
        node["properties"] = {key: _structural(value, components) for key, value in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in node:
            node[key] = _structural(node[key], components)
    return node


def _without_defaults(node: dict[str, Any]) -> None:
    """Take the defaults out of a status: what nobody has said must not look as if somebody had."""
    node.pop("default", None)
    for part in (*node.get("properties", {}).values(), node.get("items")):
        if part is not None:
            _without_defaults(part)


def _without_null(value: Any) -> Any:
    """Return a default without fields that are null, which Kubernetes does not know."""
    if isinstance(value, dict):
        return {key: _without_null(entry) for key, entry in value.items() if entry is not None}
    return value


def main(arguments: list[str]) -> int:
    """Write the manifests.

    Args:
        arguments: The folder; ``manifests/crds`` of the repository without one.

    Returns:
        The exit code.
    """
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[3] / "manifests" / "crds"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
