"""Runs the installed ``meltguard`` as a person would; for the tests of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TIMEOUT_SECONDS = 100.0


def run_meltguard(
    *arguments: str, cwd: Path | None = None, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in an environment that holds nothing of the caller's."""
    command = [str(Path(sys.executable).parent / "meltguard"), *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TERM": "dumb", **(variables or {})}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, cwd=cwd, env=environment, check=False
    )


def one_error_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return the only line of stderr, which has to be the error."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("meltguard: error: ")
    return lines[0]
