"""The play: calm, surge and after, with or without killing; then the evidence."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from controller.planning.audit import read_audit
from controller.planning.describe import record_text
from controller.planning.documents import UnreadableDocumentError
from tools.lab.stage import Stage
from tools.lab.users import new_users, report_of, standing_users
from tools.lab.verdict import Evidence
from tools.lab.watch import Moment
from tools.real_parts.processes import ChildProcess

SHOW_SECONDS = 5.0
LAST_ANSWERS_SECONDS = 90.0
"""How long after the last request the load generator may still wait for answers."""


def perform(stage: Stage, show: Callable[[str], None]) -> Evidence:
    """Play the surge and return what was seen.

    Args:
        stage: The lab.
        show: Takes lines for people.

    Returns:
        The evidence; of what happened so far when the play was ended early.
    """
    settings = stage.settings
    standing = standing_users(stage.front.url, stage.directory, settings)
    new = new_users(stage.front.url, stage.directory, settings)
    users = (standing, new)
    killer = Killer(stage, show)
    stage.watch.start()
    try:
        standing.start(lambda: True)
        killer.start()
        show(f"{settings.calm_seconds:.0f} s of calm, then {settings.surge_seconds:.0f} s of sign-ups")
        _wait(stage, settings.calm_seconds, show)
        if not stage.stop.is_set():
            show("the surge begins")
            new.start(lambda: True)
        _wait(stage, settings.calm_seconds + settings.surge_seconds, show)
        show("the sign-ups end")
        killer.stop()
        _wait(stage, settings.total_seconds, show)
        _await_end(stage, users)
    finally:
        killer.stop()
        stage.watch.stop()
        for process in users:
            process.stop()
    return _evidence(stage, users)


def _wait(stage: Stage, until_seconds: float, show: Callable[[str], None]) -> None:
    """Wait for a moment of the play, and show how things stand."""
    while not stage.stop.is_set():
        now = stage.watch.age_seconds
        if now >= until_seconds:
            return
        stage.stop.wait(min(SHOW_SECONDS, until_seconds - now))
        if stage.watch.moments:
            show(moment_text(stage.watch.moments[-1]))


def _await_end(stage: Stage, users: tuple[ChildProcess, ...]) -> None:
    """Wait until the load generators have their last answers."""
    for _ in range(round(LAST_ANSWERS_SECONDS / 0.2)):
        if all(process.pid is None for process in users) or stage.stop.wait(0.2):
            return


def moment_text(moment: Moment) -> str:
    """Return one line about a moment."""
    hottest = "     -" if moment.hottest_celsius is None else f"{moment.hottest_celsius:5.1f} °C"
    rung = "operator away" if moment.rung is None else f"rung {moment.rung}"
    shown = [limit for limit in moment.limits if not limit.startswith("batch ")]
    limits = f"  {', '.join(shown)}" if shown else ""
    return (
        f"{moment.at_seconds:4.0f} s  load {moment.load_ratio:4.0%}  guard {moment.guard_ratio:4.0%}  "
        f"hottest {hottest}  nodes {moment.ready}/{moment.desired}  {rung}{limits}"
    )


def _evidence(stage: Stage, users: tuple[ChildProcess, ...]) -> Evidence:
    """Return what was seen."""
    explained, num_decisions = explained_steps(stage.audit)
    reports = [report for process in users if (report := report_of(process)) is not None]
    return Evidence(
        moments=tuple(stage.watch.moments),
        peak_celsius=dict(stage.watch.peak_celsius),
        throttled_seconds=dict(stage.watch.throttled_seconds),
        users=tuple(reports),
        num_decisions=num_decisions,
        explained=explained,
        restarts={name: count for name, count in stage.keeper.num_restarts.items() if count > 0},
        down=stage.keeper.down(),
    )


def explained_steps(audit: Path) -> tuple[dict[str, str], int]:
    """Return every decision of an audit log that acted, with its explanation, and how many decisions there are.

    Args:
        audit: The log.

    Returns:
        Words by decision, as `meltguard explain` says them; empty words where a decision has no reason.
    """
    explained: dict[str, str] = {}
    num_decisions = 0
    try:
        with audit.open("rb") as file:
            for record in read_audit(file):
                num_decisions += 1
                if record.plan.actions:
                    reasons = all(reason.text for reason in record.plan.reasons)
                    text = record_text(record, identical=record.is_identical()) if reasons else ""
                    explained[record.plan.decision_id] = text
    except UnreadableDocumentError as error:
        # An operator that was killed within a write leaves half a line; what follows it nobody can explain.
        explained[str(error)] = ""
    return explained, num_decisions


class Killer:
    """Kills one process at a time, chosen at random, and lets it come back."""

    def __init__(self, stage: Stage, show: Callable[[str], None]) -> None:
        """Kill nothing yet."""
        self._stage, self._show = stage, show
        self._draw = random.Random(stage.settings.seed)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, where the settings ask for it."""
        if self._stage.settings.kill_every_seconds is not None:
            self._thread = threading.Thread(target=self._run, name="killer", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Kill no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _run(self) -> None:
        pause = self._stage.settings.kill_every_seconds or 0.0
        while not self._stop.wait(pause):
            name = self._draw.choice(sorted(self._stage.keeper.names()))
            if self._stage.keeper.kill(name):
                self._show(f"{self._stage.watch.age_seconds:4.0f} s  killed {name}")
