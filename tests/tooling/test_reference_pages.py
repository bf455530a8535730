import os
import subprocess
import sys

import pytest
from typer.main import get_command

from controller.cli.main import build_app
from controller.simulator.scenario import scenario_json_schema
from exporters.metric_names import ALL_METRICS
from tools.checks.repository import ROOT
from tools.docs.pages import FOLDER, reference_pages
from tools.docs.scenario_reference import unit_of
from tools.docs.tables import table

PAGES = (
    "alert-noise.md",
    "command-line.md",
    "metrics.md",
    "scenario.md",
    "scenario.schema.json",
    "signals.md",
    "signals.rules.yaml",
)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_what_the_code_says(name):
    """A reference page that stands in the repository is the one that the code writes today."""
    written = reference_pages()[name]
    assert (ROOT / FOLDER / name).read_text(encoding="utf-8") == written, "it has drifted: run `make docs`"


def test_every_page_is_known_here():
    """No page is written that this module does not compare."""
    assert tuple(sorted(reference_pages())) == PAGES


@pytest.mark.parametrize("columns", ["20", "300"])
def test_pages_do_not_depend_on_the_terminal(columns):
    """The width of the terminal, its colours and variables that set options change no page."""
    variables = {**os.environ, "COLUMNS": columns, "FORCE_COLOR": "1", "MELTGUARD_DEMO__SEED": "7"}
    program = "import sys; from tools.docs.pages import reference_pages; sys.stdout.write(repr(reference_pages()))"
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == repr(reference_pages())


def test_every_metric_has_one_row_with_its_type_and_meaning():
    """Each family of each part stands in the page once, with its type, its unit and what it means."""
    lines = reference_pages()["metrics.md"].splitlines()
    for metric in ALL_METRICS:
        (row,) = [line for line in lines if line.startswith(f"| `{metric.name}` |")]
        _, _, kind, unit, labels, meaning, _, _ = (cell.strip() for cell in row.replace("\\|", "/").split("|"))
        assert kind == metric.type.value
        assert unit == ((metric.unit or "–").replace("_per_", " per "))
        assert all(label in labels or "GPU" in labels for label in metric.labels)
        assert meaning == metric.help.replace("|", "/")


def test_every_field_of_a_scenario_has_a_row_with_a_meaning():
    """Each field of each part stands in the page, and no row lacks its meaning."""
    page = reference_pages()["scenario.md"]
    for part, schema in scenario_json_schema()["$defs"].items():
        for field in schema.get("properties", {}):
            section = page.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
            rows = [line for line in section.splitlines() if line.startswith(f"| `{field}` |")]
            assert len(rows) == 1, f"{part}.{field}"
            # Only what is empty in its last column has no meaning.
            assert len(rows[0].rstrip(" |").rsplit(" | ", 1)[1]) > 1, f"{part}.{field} has no description"


@pytest.mark.parametrize(
    ("name", "field", "unit"),
    [
        ("step_seconds", {"type": "number"}, "s"),
        ("overload_celsius_per_watt", {"type": "number"}, "°C/W"),
        ("max_cost_per_hour", {"type": "number"}, "currency per hour"),
        ("max_nodes_per_hour", {"type": "integer"}, "per hour"),
        ("nodes", {"type": "integer"}, "count"),
        ("ages_seconds", {"type": "array", "items": {"type": "number"}}, "s"),
        ("limit_celsius", {"anyOf": [{"type": "number"}, {"type": "null"}]}, "°C"),
        ("name", {"type": "string"}, ""),
    ],
)
def test_a_unit_is_read_from_the_end_of_a_name(name, field, unit):
    """The unit stands last in a field's name, and the longest ending that is known wins."""
    assert unit_of(name, field) == unit


def test_a_number_without_a_unit_is_not_published():
    """A field whose name carries no unit stops the writer, by name."""
    with pytest.raises(ValueError, match="speed is a number without a unit"):
        unit_of("speed", {"type": "number"})


def test_every_option_of_every_command_has_a_row():
    """What typer offers a user, by its own account, stands in the section of its command."""
    page = reference_pages()["command-line.md"]
    commands = get_command(build_app()).commands
    flat = {**commands, **{f"thermal {name}": each for name, each in commands["thermal"].commands.items()}}
    for name, command in flat.items():
        if name == "thermal":
            continue  # a group: its commands stand in the page, not itself
        section = page.partition(f"\n## meltguard {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            shown = "/".join([*parameter.opts, *parameter.secondary_opts])
            if shown.startswith("-") and shown not in {"--config", "--log-level"}:
                assert f"| `{shown}` |" in section, (name, shown)


def test_a_cell_cannot_break_its_table():
    """Bars and line breaks inside a cell stay inside it, and an empty cell becomes a dash."""
    assert table(("a", "b"), [("x|y", "one\ntwo"), ("", "z")]).splitlines()[2:] == [r"| x\|y | one two |", "| – | z |"]
