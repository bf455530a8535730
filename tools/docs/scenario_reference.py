"""Writes docs/reference/scenario.md: every field of the scenario file, from its JSON Schema. Called by `make docs`.

A unit is read from the end of a field's name, as our names carry it. A number whose name carries none is an error
here, so that no field is published without its unit.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from controller.simulator.scenario import SCENARIO_SCHEMA, scenario_json_schema
from tools.docs.tables import code, table

ROOT_PART = "Scenario"
Schema = Mapping[str, Any]

# The first ending that fits counts, so longer ones stand before those that they end in.
UNITS = (
    ("celsius_per_watt", "°C/W"),
    ("_per_user_hour", "per user and hour"),
    ("_per_user_day", "per user and day"),
    ("_per_second_per_gpu", "per second and GPU"),
    ("cost_per_node_hour", "currency per node and hour"),
    ("cost_per_hour", "currency per hour"),
    ("harm_per_limited_request", "currency per request"),
    ("harm_per_waited_second", "currency per second"),
    ("_per_second", "per second"),
    ("_per_hour", "per hour"),
    ("_per_day", "per day"),
    ("_per_request", "per request"),
    ("_per_image", "per image"),
    ("_seconds", "s"),
    ("_celsius", "°C"),
    ("_watts", "W"),
    ("_hour_utc", "h"),
    ("ratio", "ratio"),
    ("share", "ratio"),
    ("scale", "ratio"),
    ("priority", "rank"),
    ("extent", "depends on kind"),
)

_OPENING = f"""\
# The scenario file

A scenario says what happens to which fleet. `meltguard replay` reads it, as YAML or JSON. Unknown keys, impossible
values and combinations that make no sense are refused with the path of the field. `meltguard replay --example` prints a
whole file; [scenario.schema.json](scenario.schema.json) is the JSON Schema (`{SCENARIO_SCHEMA}`) for editors.
[How to write a scenario](../how-to/write-a-scenario.md) is the place to begin.

This page is written by `make docs` from that schema. A unit of "ratio" is a plain factor; the range says which.
"""


def scenario_schema_text() -> str:
    """Return the JSON Schema as `meltguard replay --schema` prints it."""
    return json.dumps(scenario_json_schema(), indent=2) + "\n"


def scenario_page() -> str:
    """Return the page: one section a part of the file, one row a field."""
    parts: Mapping[str, Schema] = scenario_json_schema()["$defs"]
    order = [ROOT_PART, *(name for name in parts if name != ROOT_PART)]
    sections = [_section(name, parts) for name in order if "properties" in parts[name]]
    return "\n".join([_OPENING, *sections])


def unit_of(name: str, field: Schema) -> str:
    """Return the unit of a field.

    Args:
        name: Its name in the file.
        field: Its schema.

    Returns:
        The unit; "count" for a whole number without one; empty for what is no number.

    Raises:
        ValueError: If it is a number and its name carries no unit that is known here.
    """
    kinds = set(_kinds(field))
    if not kinds & {"number", "integer"}:
        return ""
    unit = next((unit for ending, unit in UNITS if name.endswith(ending)), None)
    if unit is None and "number" in kinds:
        raise ValueError(f"the field {name} is a number without a unit; name it in UNITS of tools/docs")
    return unit or "count"


def _kinds(field: Schema) -> Iterator[str]:
    """Yield the JSON types that a field, or an entry of its list, may have."""
    for choice in field.get("anyOf", [field]):
        if choice.get("type") == "array":
            yield from _kinds(choice.get("items", {}))
        elif "type" in choice:
            yield choice["type"]


def _section(name: str, parts: Mapping[str, Schema]) -> str:
    part = parts[name]
    required = set(part.get("required", ()))
    rows = [
        (
            code(field_name),
            _type_words(field, parts),
            unit_of(field_name, field),
            _range_words(field, parts),
            "required" if field_name in required else _default_words(field),
            _description(field, parts),
        )
        for field_name, field in part["properties"].items()
    ]
    heads = ("field", "type", "unit", "range", "default", "meaning")
    return f"## {name}\n\n{part.get('description', '')}\n\n{table(heads, rows)}"


def _referred(field: Schema) -> str | None:
    """Return the name of the part that a field, or each entry of its list, is."""
    place = field.get("$ref") or field.get("items", {}).get("$ref")
    return place.removeprefix("#/$defs/") if place else None


def _type_words(field: Schema, parts: Mapping[str, Schema]) -> str:
    if "anyOf" in field:
        return " or ".join(_type_words(choice, parts) for choice in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type_words(field.get('items', {}), parts)}"
    part = _referred(field)
    if part is not None and "enum" in parts[part]:
        return "word"
    if part is not None:
        return f"[{part}](#{part.lower()})"
    if field.get("format") == "date-time":
        return "time with zone"
    names = {"number": "number", "integer": "whole number", "string": "text", "boolean": "true or false"}
    return names.get(field.get("type", ""), str(field.get("type", "")))


def _range_words(field: Schema, parts: Mapping[str, Schema]) -> str:
    if "anyOf" in field:
        return "; ".join(filter(None, (_range_words(choice, parts) for choice in field["anyOf"])))
    words: list[str] = []
    if "minItems" in field:
        words.append(f"at least {field['minItems']} of them")
    if field.get("type") == "array":
        each = _range_words(field.get("items", {}), parts)
        return "; ".join([*words, *([f"each {each}"] if each else [])])
    part = _referred(field)
    if part is not None and "enum" in parts[part]:
        words.append(", ".join(code(value) for value in parts[part]["enum"]))
    bounds = (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
    words += [f"{sign} {field[key]:g}" for key, sign in bounds if key in field]
    if "pattern" in field:
        words.append(code(field["pattern"]))
    return ", ".join(words)


def _default_words(field: Schema) -> str:
    default = field.get("default")
    if isinstance(default, dict):
        return "the defaults of its fields"
    if isinstance(default, list | tuple) and not default:
        return "none"
    return code(json.dumps(default, ensure_ascii=False))


def _description(field: Schema, parts: Mapping[str, Schema]) -> str:
    if "description" in field:
        return str(field["description"])
    part = _referred(field)
    choices = (_description(choice, parts) for choice in field.get("anyOf", ()))
    return str(parts[part].get("description", "")) if part is not None else next(filter(None, choices), "")
