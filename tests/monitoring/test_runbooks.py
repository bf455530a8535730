"""Every alert has a whole runbook, and every query in it asks for what exists."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
from typing import Any

import pytest
import typer
import yaml

from controller.cli.main import build_app
from tools.checks.repository import ROOT
from tools.monitoring.catalogue import ALERT_NAMES, RECORDINGS, TEAM
from tools.monitoring.files import FOLDER, RUNBOOKS_FOLDER
from tools.monitoring.labels import LabelReader
from tools.monitoring.lint import lint_expr
from tools.monitoring.model import Board
from tools.monitoring.runbook import SECTIONS
from tools.monitoring.runbooks import RUNBOOKS

READER = LabelReader(RECORDINGS)
PAGES = {name: (ROOT / RUNBOOKS_FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in ALERT_NAMES}
SHIPPED = [
    rule
    for path in sorted((ROOT / FOLDER / "rules").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
QUERY = re.compile(r"promtool query instant \"\$PROMETHEUS\" '([^']+)'")


def test_alerts_and_runbooks_are_the_same_names():
    """There is one runbook for each alert and none without one."""
    assert tuple(runbook.alert for runbook in RUNBOOKS) == ALERT_NAMES
    assert {path.stem for path in (ROOT / RUNBOOKS_FOLDER).glob("*.md")} == {*ALERT_NAMES, "README"}


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_a_runbook_has_every_section_and_none_is_empty(name):
    """Meaning, impact, what the controller did and the others stand in order and say something."""
    parts = re.split(r"^## (.+)$", PAGES[name], flags=re.MULTILINE)
    assert tuple(parts[1::2]) == SECTIONS
    assert all(len(body.split()) >= 4 for body in parts[2::2])
    assert f"alertname={name}" in parts[2 * SECTIONS.index("Silence") + 2]


@pytest.mark.parametrize("rule", SHIPPED, ids=lambda rule: f"{rule['alert']} {rule['labels']}")
def test_a_shipped_alert_says_what_a_person_needs(rule):
    """Each rule as shipped has severity, team, component, summary, what the controller did, and working links."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info", "none"}
    assert rule["labels"]["team"] == TEAM
    assert rule["labels"]["component"]
    annotations = rule["annotations"]
    assert all(annotations[key].strip() for key in ("summary", "description", "controller"))
    assert annotations["runbook_url"].rsplit("/", 1)[1] == f"{rule['alert']}.md"
    assert annotations["dashboard_url"].rsplit("/", 1)[1] in {board.value for board in Board}


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_queries_of_a_runbook_ask_for_what_we_export(name):
    """Every query of a runbook is PromQL over exported or recorded series, with labels that they have."""
    queries = QUERY.findall(PAGES[name])
    assert queries
    for query in queries:
        assert list(lint_expr(query, READER)) == [], query


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_commands_of_a_runbook_exist(name):
    """Every `meltguard` command in a runbook is one of the command line's."""
    known = {command.name for command in build_app().registered_commands} | {
        group.name for group in build_app().registered_groups
    }
    used = {command for _, command in re.findall(r"(?m)^\s*(meltguard) ([a-z]+)", PAGES[name])}
    assert used <= known


def commands_of(name: str) -> list[list[str]]:
    """Return the words of every `meltguard` command in a runbook's blocks and sentences."""
    found = re.findall(r"(?m)^\s*(meltguard [a-z].*)$|`(meltguard [a-z][^`]*)`", PAGES[name])
    return [shlex.split(line or inline, comments=True)[1:] for line, inline in found]


@functools.cache
def command_line() -> Any:
    """Return the whole command line as one command."""
    return typer.main.get_command(build_app())


def parsed(words: list[str]) -> Any:
    """Let the command line's own parser read a command, without running it."""
    command = command_line()
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command.make_context("meltguard", list(words))


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_commands_of_a_runbook_are_taken_by_the_command_line(name):
    """Every `meltguard` command of a runbook has the arguments and options that the command line asks for."""
    for words in commands_of(name):
        assert parsed(words).params, words


def test_orders_of_a_runbook_are_whole():
    """Runbooks give orders with a region, an end and a namespace; none sends the reader to --help."""
    orders = [words for name in ALERT_NAMES for words in commands_of(name) if words[0] in ("limit", "lift", "approve")]
    assert len(orders) >= 8
    for words in orders:
        assert {"--region", "--for", "--namespace"} <= set(words), words
    assert not any("--help" in page for page in PAGES.values())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["limit", "POLICY"], "region"),
        (["limit", "POLICY", "--ring", "4"], "No such option: --ring"),
        (["decline", "POLICY"], "there is no command decline"),
    ],
)
def test_a_command_that_is_not_one_is_found(words, complaint):
    """A missing option, an unknown option and an unknown command are refused by the reader of these tests."""
    with pytest.raises(Exception, match=complaint):
        parsed(words)


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_commands_of_a_runbook_are_shell(name):
    """Every block of commands in a runbook can be read by a shell."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGES[name], flags=re.DOTALL)
    for block in blocks:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, block + done.stderr
