"""Plays the users: `meltguard load` for those who are there already, and once more for those who sign up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tools.lab.settings import LabSettings
from tools.real_parts.processes import ChildProcess

QUICK_ANSWERS = ["--timeout=60s", "--honour=0.8", "--retries=2", "--output=json"]


def standing_users(url: str, directory: Path, settings: LabSettings) -> ChildProcess:
    """Return the load of the users who are there from the beginning to the end.

    Args:
        url: Where they ask.
        directory: Where the report goes.
        settings: Of the lab.

    Returns:
        The process, not started.
    """
    rate = [f"--rate={settings.requests_per_second}", f"--duration={settings.total_seconds:.0f}s", "--users=300"]
    return _load("users-standing", url, directory, [*rate, f"--seed={settings.seed}"])


def new_users(url: str, directory: Path, settings: LabSettings) -> ChildProcess:
    """Return the load of those who sign up in the surge.

    Args:
        url: Where they ask.
        directory: Where the report goes.
        settings: Of the lab.

    Returns:
        The process, not started.
    """
    surge = [
        "--rate=0",
        f"--duration={settings.surge_seconds:.0f}s",
        f"--signups={settings.signups_per_second}",
        f"--requests-per-signup={settings.requests_per_signup}",
        f"--pause={settings.pause_seconds}s",
        f"--seed={settings.seed + 1}",
    ]
    return _load("users-new", url, directory, surge)


def _load(name: str, url: str, directory: Path, arguments: list[str]) -> ChildProcess:
    """Return a run of the load generator whose report becomes ``NAME.json``."""
    command = [sys.executable, "-m", "controller", "load", url, *QUICK_ANSWERS, *arguments]
    return ChildProcess(name, command, directory, output=directory / f"{name}.json")


def report_of(process: ChildProcess) -> dict[str, Any] | None:
    """Return the report of a run that has ended; None before that."""
    path = process.directory / f"{process.name}.json"
    if process.pid is not None or not path.exists():
        return None
    text = path.read_text(encoding="utf-8").strip()
    found: dict[str, Any] | None = json.loads(text) if text else None
    return found
