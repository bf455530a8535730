"""The scenario file: what is refused, in one line that names the place; what is published."""

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import UsageError
from controller.simulator.builtin import load_builtin
from controller.simulator.scenario import load_scenario, parse_scenario, scenario_json_schema
from tests.simulator_samples import scenario_document, small_scenario


def _changed(path: str, value: Any) -> dict[str, Any]:
    """Return the sample with one field replaced; ``path`` is dotted, numbers are list indices."""
    document = copy.deepcopy(scenario_document())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = document
    for part in parents:
        place = place[part]
    place[last] = value
    return document


BROKEN = {
    "schema": "other/v1",
    "duration_seconds": -1,
    "step_seconds": 0,
    "start": "yesterday",
    "name": "Not A Name",
    "unknown_key": 1,
    "users.scale": 2.0,
    "users.wave": [],
    "users.wave.0.signups_per_hour": 0,
    "users.wave.1.at_seconds": 0,
    "users.age_edges_seconds": [900],
    "users.age_edges_seconds.0": 99999,
    "users.retry_delay_seconds": 0,
    "tiers.0.share": 0.5,
    "tiers.1.name": "free",
    "tiers.0.images_per_day": 1.5,
    "regions.0.share": 0.9,
    "regions.1.name": "north",
    "regions.1.pools.0.name": "north-h",
    "regions.0.pools": [],
    "regions.0.pools.0.nodes": 9,
    "regions.0.pools.0.min_nodes": 3,
    "regions.0.pools.0.lead_time_p95_seconds": 1,
    "regions.0.site.inlet_celsius": 200,
    "gpu.busy_watts": 60,
    "gpu.limit_watts": 100,
    "gpu.shutdown_celsius": 80,
    "work.tokens_per_image": "many",
}


@pytest.mark.parametrize("path", BROKEN)
def test_wrong_field_is_refused_in_one_line(path: str) -> None:
    """A field with an impossible value ends in one line that names the file."""
    text = yaml.safe_dump(_changed(path, BROKEN[path]))
    with pytest.raises(UsageError) as caught:
        parse_scenario(text, place="bad.yaml")
    message = str(caught.value)
    assert message.startswith("bad.yaml")
    assert "\n" not in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "\t- x", "3", "!!python/object:os.system {}", "a: &a [*a]", "schema: meltguard.scenario/v1"],
)
def test_text_that_is_no_scenario_is_refused_in_one_line(text: str) -> None:
    """What is not even a mapping of the right fields is refused without a traceback."""
    with pytest.raises(UsageError) as caught:
        parse_scenario(text, place="bad.yaml")
    assert "\n" not in str(caught.value)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text whatever leads to another error than the one that a command shows."""
    try:
        parse_scenario(text, place="fuzz.yaml")
    except UsageError as error:
        assert "\n" not in str(error)


def _paths(node: Any, prefix: str = "") -> list[str]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = []
    for key, value in items:
        found += [f"{prefix}{key}", *_paths(value, f"{prefix}{key}.")]
    return found


absurd = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})


@given(st.sampled_from(_paths(scenario_document())), absurd)
def test_any_value_of_any_field_is_read_or_refused(path: str, value: Any) -> None:
    """One absurd value in an otherwise good file is taken or refused by name, never a crash."""
    try:
        parse_scenario(yaml.safe_dump(_changed(path, value)), place="fuzz.yaml")
    except UsageError as error:
        assert "\n" not in str(error)


def test_missing_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A file that is not there, is a folder, is not text or is far too large is refused in one line."""
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    for path in (tmp_path / "missing.yaml", tmp_path, binary, large):
        with pytest.raises(UsageError) as caught:
            load_scenario(path)
        assert str(path) in str(caught.value)


def test_numbers_that_are_none_are_refused() -> None:
    """Infinity and not-a-number are no values of a scenario."""
    for value in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(UsageError):
            parse_scenario(yaml.safe_dump(_changed("regions.0.site.cooling_capacity_watts", value)), place="bad.yaml")


def test_schema_describes_every_field() -> None:
    """The published JSON Schema knows every top-level field, and numbers carry a description or a unit."""
    schema = scenario_json_schema()
    fields = schema["$defs"]["Scenario"]["properties"]
    assert set(scenario_document()) <= set(fields)


def test_scenario_survives_a_round_trip() -> None:
    """A scenario written as data and read again is the same."""
    scenario = small_scenario()
    assert msgspec.convert(msgspec.to_builtins(scenario), type(scenario)) == scenario


def test_builtin_surge_is_readable_and_says_where_its_numbers_come_from() -> None:
    """The demo's scenario reads without error and has at least one published and one assumed fact."""
    scenario = load_builtin("march-2025")
    assert scenario.name == "march-2025"
    assert {fact.kind.value for fact in scenario.facts} >= {"published"}
