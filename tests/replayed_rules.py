"""The shipped rules over series of numbers, evaluated by promtool in virtual time, and what it answers to questions.

Several fleets stand side by side in one replay, told apart by the label ``cluster``: promtool's cost lies in the number
of rules, hardly in that of the series. Only rules that ask whether anything at all is there (``absent``) need a replay
of their own.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.checks.repository import ROOT
from tools.monitoring.catalogue import GROUPS
from tools.monitoring.files import FOLDER

Series = dict[str, np.ndarray]
"""Values by series, one every step; not a number where Prometheus has none."""

EVERY_FILE: tuple[str, ...] = tuple(dict.fromkeys(group.file for group in GROUPS))
TIMEOUT_SECONDS = 1800.0
_FOUND = re.compile(
    r"expr: (?P<expr>.+?), time: (?P<time>[\ddhms]+),?\s*exp:\s*nil\s*got:\s*(?P<got>[^\n]*)", re.DOTALL
)
_SAMPLE = re.compile(r"\{([^}]*)\} ([-+\d.Ee]+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One sample of the answer to a question.

    Attributes:
        seconds: When it was asked.
        labels: Labels of the sample.
        value: Its value.
    """

    seconds: int
    labels: Mapping[str, str]
    value: float


def files_of(alert: str) -> tuple[str, ...]:
    """Return the stem of an alert's rule file, and of those that record what its expressions ask for."""
    file = next(group.file for group in GROUPS for rule in group.rules if getattr(rule, "name", "") == alert)
    if "Budget" in alert:
        return ("objectives", file)
    return {
        "hardware": ("hardware", "controller"),
        "controller": ("hardware", "controller"),
        "forecast": ("controller", "forecast"),
    }.get(file, (file,))


def notation(values: np.ndarray) -> str:
    """Return values in promtool's notation, runs shortened; a series that ends, ends at once, as at a failed scrape."""
    missing = np.isnan(values)
    # Not a number equals nothing, itself included, so absent samples get a number that no series has.
    keys = np.where(missing, -9.87654321e300, values)
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    lengths = np.diff(np.r_[starts, len(values)])
    words = []
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        if not missing[start]:
            words.append(f"{values[start]:.10g}" + (f"x{length - 1}" if length > 1 else ""))
            continue
        if start > 0:
            words.append("stale")
            length -= 1
        if length > 0:
            words.append(f"_x{length}")
    return " ".join(words)


def in_cluster(name: str, cluster: str) -> str:
    """Return the name of a series with the label ``cluster`` added."""
    metric, brace, rest = name.partition("{")
    return f'{metric}{{cluster="{cluster}"' + (f",{rest}" if brace else "}")


def ask(
    series: Series,
    questions: Sequence[tuple[str, int]],
    *,
    step_seconds: int,
    promtool: str,
    directory: Path,
    files: Sequence[str] = EVERY_FILE,
) -> list[Answer]:
    """Replay the rules over series and ask.

    promtool is told to expect nothing, and its complaint is the answer.

    Args:
        series: What Prometheus scraped, from second 0 on.
        questions: PromQL and the second at which it is asked.
        step_seconds: Distance of two samples, and of two evaluations of the rules.
        promtool: Path of the program.
        directory: Where the test file is written.
        files: Stems of the rule files that are loaded.

    Returns:
        What is not empty, in the order of the questions.

    Raises:
        RuntimeError: If promtool fails without an answer.
    """
    document = {
        "rule_files": [str(ROOT / FOLDER / "rules" / f"{file}.yaml") for file in files],
        "evaluation_interval": f"{step_seconds}s",
        "group_eval_order": [group.name for group in GROUPS if group.file in files],
        "tests": [
            {
                "interval": f"{step_seconds}s",
                "input_series": [{"series": name, "values": notation(values)} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": expr, "eval_time": f"{seconds}s", "exp_samples": []} for expr, seconds in questions
                ],
            }
        ],
    }
    file = directory / "replay.yaml"
    file.write_text(json.dumps(document), encoding="utf-8")
    command = [promtool, "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    text = done.stdout + done.stderr
    found = list(_answers(text))
    if done.returncode != 0 and not found:
        raise RuntimeError(f"promtool failed without an answer: {text[:1000]}")
    return found


def _answers(text: str) -> Iterator[Answer]:
    for match in _FOUND.finditer(text):
        seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", match["time"]))
        for sample in _SAMPLE.finditer(match["got"]):
            yield Answer(seconds=seconds, labels=dict(_LABEL.findall(sample[1])), value=float(sample[2]))
