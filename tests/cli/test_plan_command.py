"""``meltguard plan`` and ``meltguard explain`` as people and scripts use them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from controller.planning.documents import encode_document, encode_state
from controller.types import PlanMemory
from forecasting.documents import forecast_document
from tests.command_line import one_error_line, run_meltguard
from tests.planning_samples import NOW, forecasts, limited, policy, snapshot

RULES = policy(1)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Files of a region whose demand doubles within half an hour."""
    paths = {name: tmp_path / name for name in ("policy.yaml", "snapshot.json", "forecast.jsonl", "audit.jsonl")}
    paths["policy.yaml"].write_text(yaml.safe_dump(json.loads(encode_document(RULES))), encoding="utf-8")
    paths["snapshot.json"].write_bytes(encode_document(snapshot(RULES, 0.95)))
    lines = [json.dumps(forecast_document(row)) for row in forecasts(RULES, 0.95, growth=2.5).demand]
    paths["forecast.jsonl"].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def options(inputs: dict[str, Path]) -> list[str]:
    """Return the options that name the files."""
    names = {"--policy": "policy.yaml", "--snapshot": "snapshot.json", "--forecast": "forecast.jsonl"}
    return [text for option, name in names.items() for text in (option, str(inputs[name]))]


def test_decision_is_printed_for_people_with_its_reasons(inputs: dict[str, Path]) -> None:
    """The text names each action, why, how to undo it, and what would change the decision."""
    result = run_meltguard("plan", *options(inputs))
    assert result.returncode == 0, result.stderr
    for words in ("r0-h: 4 → 6 nodes", "why: r0: demand up to", "undo: 6 → 4 nodes", "What would change it", "fresh"):
        assert words in result.stdout
    assert result.stderr == ""


def test_check_exits_3_exactly_when_changes_are_needed(inputs: dict[str, Path]) -> None:
    """A script learns from the exit code alone whether anything is to be done."""
    assert run_meltguard("plan", *options(inputs), "--check").returncode == 3
    inputs["snapshot.json"].write_bytes(encode_document(snapshot(RULES)))
    lines = [json.dumps(forecast_document(row)) for row in forecasts(RULES).demand]
    inputs["forecast.jsonl"].write_text("\n".join(lines), encoding="utf-8")
    assert run_meltguard("plan", *options(inputs), "--check").returncode == 0


def test_json_is_the_plan_of_the_contract(inputs: dict[str, Path]) -> None:
    """One document of the plan's schema, with actions, inputs, alternatives and reasons."""
    result = run_meltguard("plan", *options(inputs), "--output", "json")
    document = json.loads(result.stdout)
    assert document["schema"] == "meltguard.plan/v1"
    assert document["actions"][0]["kind"] == "pool"
    assert {"decision_id", "rung", "inputs", "constraints", "alternatives", "reasons"} <= document.keys()


def test_explain_finds_a_decision_in_the_log(inputs: dict[str, Path]) -> None:
    """What plan appended, explain tells again, and says that deciding anew gives the same bytes."""
    log = ["--audit", str(inputs["audit.jsonl"])]
    planned = json.loads(run_meltguard("plan", *options(inputs), *log, "--output", "json").stdout)
    told = run_meltguard("explain", planned["decision_id"], *log)
    assert told.returncode == 0, told.stderr
    assert "r0-h: 4 → 6 nodes" in told.stdout and "the same, byte for byte" in told.stdout
    document = json.loads(run_meltguard("explain", "last", *log, "--output", "json").stdout)
    assert document["schema"] == "meltguard.decision/v1"
    assert document["plan"] == planned
    assert document["identical_when_replayed"] is True


def test_explain_says_which_decision_is_missing(inputs: dict[str, Path]) -> None:
    """An id that the log does not hold is one line that names the newest one; so is a log that is none."""
    log = ["--audit", str(inputs["audit.jsonl"])]
    run_meltguard("plan", *options(inputs), *log)
    missing = run_meltguard("explain", "d-1", *log)
    assert missing.returncode == 2
    assert "no decision 'd-1'; its 1 decisions end with d-2025" in one_error_line(missing)
    inputs["audit.jsonl"].write_text("{}\n", encoding="utf-8")
    damaged = run_meltguard("explain", "last", *log)
    assert damaged.returncode == 1
    assert "audit line 1" in one_error_line(damaged)


def test_memory_is_used_and_an_unreadable_one_is_said(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The state of the decision before counts; one that cannot be read starts with the limits in force."""
    state = tmp_path / "state.json"
    state.write_bytes(encode_state(replace(limited(RULES, 4), num_decisions=41)))
    decided = run_meltguard("plan", *options(inputs), "--memory", str(state), "--output", "json")
    assert json.loads(decided.stdout)["decision_id"].endswith("-000042")
    state.write_text("{", encoding="utf-8")
    start = run_meltguard("plan", *options(inputs), "--memory", str(state), "--output", "json")
    assert start.returncode == 0
    assert "limits in force are kept" in start.stderr
    assert json.loads(start.stdout)["memory"]["num_decisions"] == PlanMemory().num_decisions + 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limits": {"max_nodes_per_hour": "many"}}, "max_nodes_per_hour"),
        ({"max_nodes_per_huor": 3}, "`$.max_nodes_per_huor` is no field"),
        ({"tiers": None}, "tiers"),
    ],
)
def test_wrong_policy_is_one_line_with_its_field(
    inputs: dict[str, Path], change: dict[str, object], words: str
) -> None:
    """A misspelt or impossible field of the policy is refused with its path, as wrong usage."""
    fields = yaml.safe_load(inputs["policy.yaml"].read_text(encoding="utf-8"))
    inputs["policy.yaml"].write_text(yaml.safe_dump({**fields, **change}), encoding="utf-8")
    result = run_meltguard("plan", *options(inputs))
    assert result.returncode == 2
    assert words in one_error_line(result)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("policy.yaml", "a: [", "not valid YAML"),
        ("policy.yaml", "- 1", "a mapping"),
        ("snapshot.json", "[]", "Expected `object`"),
        ("forecast.jsonl", '{"schema": 1}', "forecast.jsonl:1"),
    ],
)
def test_file_that_is_none_is_one_line(inputs: dict[str, Path], name: str, text: str, words: str) -> None:
    """Text that is no policy, snapshot or forecast ends with one line that says what was expected."""
    inputs[name].write_text(text, encoding="utf-8")
    result = run_meltguard("plan", *options(inputs))
    assert result.returncode == 2
    assert words in one_error_line(result)


def test_missing_file_and_time_without_zone_are_usage_errors(inputs: dict[str, Path]) -> None:
    """A path that does not exist and a time that could be anywhere are refused at once."""
    given = options(inputs)
    absent = run_meltguard("plan", "--policy", "nowhere.yaml", *given[2:])
    assert absent.returncode == 2 and "nowhere.yaml" in one_error_line(absent)
    vague = run_meltguard("plan", *given, "--now", f"{NOW:%Y-%m-%dT%H:%M:%S}")
    assert vague.returncode == 2 and "time zone" in one_error_line(vague)


def test_examples_are_inputs_that_plan_accepts(tmp_path: Path) -> None:
    """What --example prints can be given back without a change, and a ladder may be left out."""
    paths = {kind: tmp_path / kind for kind in ("policy", "snapshot")}
    for kind, path in paths.items():
        path.write_text(run_meltguard("plan", "--example", kind).stdout, encoding="utf-8")
    fields = yaml.safe_load(paths["policy"].read_text(encoding="utf-8"))
    del fields["ladder"]
    short = tmp_path / "short"
    short.write_text(yaml.safe_dump(fields), encoding="utf-8")
    told = [
        run_meltguard("plan", "--policy", str(path), "--snapshot", str(paths["snapshot"]))
        for path in (paths["policy"], short)
    ]
    assert [result.returncode for result in told] == [0, 0], told[0].stderr
    assert told[0].stdout == told[1].stdout
