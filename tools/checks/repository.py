"""Which files the checks look at, and how they report. Used by every module of this package."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("controller", "exporters", "forecasting", "inference")
GIT_TIMEOUT_SECONDS = 30.0


def repository_files(*patterns: str) -> list[Path]:
    """Return the files that git tracks or would track, so that a new file is checked before its first commit.

    Args:
        *patterns: git path patterns such as "*.md"; none means every file.

    Returns:
        Existing files, relative to the repository root, sorted.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns]
    listing = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=GIT_TIMEOUT_SECONDS
    ).stdout
    names = sorted(set(filter(None, listing.split("\0"))))
    return [Path(name) for name in names if (ROOT / name).is_file()]


def report(check: str, problems: Iterable[str]) -> int:
    """Print one line per problem to stderr.

    Args:
        check: name of the check, the prefix of each line.
        problems: what is wrong and what to do about it, one line each.

    Returns:
        The exit code: 0 without problems, else 1.
    """
    found = list(problems)
    for problem in found:
        print(f"{check}: {problem}", file=sys.stderr)
    return 1 if found else 0
