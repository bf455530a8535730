"""What a runbook holds, and how it is written. Pure: returns Markdown.

Texts stand in ``runbooks_*``; what can be read from the catalogue (severity, threshold, hold, silence command) is not
repeated there, so that a runbook never disagrees with its alert.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.docs.tables import code, table
from tools.monitoring.catalogue import ALERTS
from tools.monitoring.model import Alert, Threshold

SECTIONS: tuple[str, ...] = (
    "Meaning",
    "Impact",
    "What the controller already did",
    "Is it real?",
    "Blast radius",
    "Mitigation",
    "Verification",
    "Escalation",
    "Silence",
    "How it was tested",
)
"""The headings of every runbook, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a mitigation.

    Attributes:
        text: What to do and what to expect.
        command: What to copy; empty where there is nothing to type.
    """

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """One alert's runbook; every text is Markdown.

    Attributes:
        alert: Name of the alert.
        meaning: What is the case when it fires.
        impact: Who feels it, and how.
        controller: What happens without a person.
        real: How to tell it from what only looks like it.
        look: PromQL that tells them apart.
        blast: What the query below shows.
        blast_query: PromQL: how far it reaches.
        steps: What to do, reading before changing.
        verify: When it is over.
        verify_query: PromQL that shows it; in the end it returns what ``verify`` says.
        escalation: To whom, when, and with what.
        thresholds: Numbers of the alert.
    """

    alert: str
    meaning: str
    impact: str
    controller: str
    real: str
    look: str
    blast: str
    blast_query: str
    steps: tuple[Step, ...]
    verify: str
    verify_query: str
    escalation: str
    thresholds: tuple[Threshold, ...] = ()

    @property
    def queries(self) -> tuple[str, ...]:
        """Every PromQL that the runbook asks the reader to run."""
        return tuple(query for query in (self.look, self.blast_query, self.verify_query) if query)


def query_command(promql: str) -> str:
    """Return the command that runs PromQL on the reader's Prometheus."""
    return f"promtool query instant \"$PROMETHEUS\" '{promql}'"


def silence_command(alert: str) -> str:
    """Return the command that silences an alert for two hours."""
    return (
        'amtool silence add --alertmanager.url="$ALERTMANAGER" --duration=2h '
        f'--comment="ticket number, and why" alertname={alert}'
    )


def runbook_page(runbook: Runbook) -> str:
    """Return a runbook as Markdown.

    Args:
        runbook: Its texts.

    Returns:
        The page.
    """
    rules = tuple(alert for alert in ALERTS if alert.name == runbook.alert)
    bodies = {
        "Meaning": f"{runbook.meaning}\n\n{_facts(rules, runbook.thresholds)}",
        "Impact": f"{runbook.impact}\n",
        "What the controller already did": (
            f"{runbook.controller}\n\nThe alert's annotation `controller` names the rung that was in force when it was "
            f"sent. Now:\n\n{_block('kubectl get surge,gpool -A -o wide')}"
        ),
        "Is it real?": f"{runbook.real}\n" + _query_block(runbook.look),
        "Blast radius": f"{runbook.blast}\n" + _query_block(runbook.blast_query),
        "Mitigation": _steps(runbook.steps),
        "Verification": f"{runbook.verify}\n" + _query_block(runbook.verify_query),
        "Escalation": f"{runbook.escalation}\n",
        "Silence": (
            f"Only while somebody works on it; narrow it down with the alert's own labels.\n\n"
            f"{_block(silence_command(runbook.alert))}"
        ),
        "How it was tested": (
            "Fired and kept silent by promtool in `tests/alert_cases.py` and `tests/alert_cases_control.py`; fired and "
            "resolved through a real Prometheus and Alertmanager in `tests/e2e/monitoring`.\n"
        ),
    }
    parts = [f"# {runbook.alert}\n", *(f"## {section}\n\n{bodies[section]}" for section in SECTIONS)]
    return "\n".join(parts)


def _facts(rules: tuple[Alert, ...], thresholds: tuple[Threshold, ...]) -> str:
    rows = [
        (
            rule.severity.value,
            " ".join(f"{key}={value}" for key, value in rule.labels.items()),
            rule.hold or "at once",
            rule.keep,
        )
        for rule in rules
    ]
    found = table(("severity", "labels", "holds for", "kept for"), rows)
    if thresholds:
        found += "\n" + table(("threshold", "value", "why"), [(t.name, t.words, t.why) for t in thresholds])
    return found


def _block(text: str) -> str:
    return f"```sh\n{text}\n```\n"


def _query_block(promql: str) -> str:
    return f"\n{_block(query_command(promql))}" if promql else ""


def _steps(steps: tuple[Step, ...]) -> str:
    lines = []
    for number, step in enumerate(steps, start=1):
        lines.append(f"{number}. {step.text}\n")
        if step.command:
            indented = "\n".join(f"   {line}" for line in _block(step.command).rstrip("\n").split("\n"))
            lines.append(f"\n{indented}\n")
    return "".join(lines)


def index_page(runbooks: tuple[Runbook, ...]) -> str:
    """Return the list of all runbooks with what the commands in them expect."""
    severities = {alert.name: alert.severity.value for alert in reversed(ALERTS)}
    rows = [
        (f"[{each.alert}]({each.alert}.md)", severities[each.alert], each.meaning.split(". ")[0].rstrip(".") + ".")
        for each in runbooks
    ]
    return (
        "# Runbooks\n\nOne for each alert, written from `tools/monitoring` by `python -m tools.monitoring`. The "
        "commands "
        f"in them\nexpect {code('PROMETHEUS')} and {code('ALERTMANAGER')} to hold the servers' addresses, and "
        f"meltguard in "
        f"the namespaces {code('meltguard-system')} and {code('meltguard-nodes')} (the exporters):\n\n"
        + _block("export PROMETHEUS=http://localhost:9090 ALERTMANAGER=http://localhost:9093")
        + "\n"
        + table(("alert", "severity", "meaning"), rows)
    )
