"""Asks a database of advisories (OSV) about every locked package: `make audit`.

Three endings, kept apart: 0, every package was looked up and none has an advisory; 1, some have; 3, the database did
not answer, so nothing is known. With `--where-reachable`, for `make check`, the third is a line on stderr and exit 0: a
machine without a way there must not fail, and must not claim that anything was audited.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tools.checks.repository import ROOT
from tools.supply.pins import Pin, read_pins

DATABASE = "https://api.osv.dev"
TIMEOUT_SECONDS = 20.0
BATCH = 500
MAX_ANSWER_BYTES = 32 * 1024 * 1024
EXIT_UNKNOWN = 3


class UnreachableDatabaseError(Exception):
    """The database did not answer, or not in its own form; nothing is known about any package."""


def advisories(pins: Sequence[Pin], database: str) -> dict[str, list[str]]:
    """Return the advisories of packages.

    Args:
        pins: The packages.
        database: Address of the database.

    Returns:
        Identifiers by `name version`, for those that have any.

    Raises:
        UnreachableDatabaseError: If a batch is not answered whole.
    """
    found: dict[str, list[str]] = {}
    for start in range(0, len(pins), BATCH):
        batch = pins[start : start + BATCH]
        queries = [{"package": {"ecosystem": "PyPI", "name": pin.name}, "version": pin.version} for pin in batch]
        rows = _ask(f"{database}/v1/querybatch", {"queries": queries})
        if len(rows) != len(batch):
            raise UnreachableDatabaseError(f"{database} answered {len(rows)} of {len(batch)} questions")
        for pin, row in zip(batch, rows, strict=True):
            names = [str(each["id"]) for each in (row or {}).get("vulns") or []]
            if names:
                found[f"{pin.name} {pin.version}"] = names
    return found


def _ask(url: str, body: object) -> list[dict[str, list[dict[str, object]]] | None]:
    """Return the results of a batch of questions."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            document = json.loads(answer.read(MAX_ANSWER_BYTES))
        results: list[dict[str, list[dict[str, object]]] | None] = document["results"]
        return results
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError) as error:
        raise UnreachableDatabaseError(f"{url}: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit the lock files.

    Args:
        arguments: Of the command line; None for the real ones.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="audit", description="Look every locked package up among advisories.")
    parser.add_argument("--database", default=DATABASE, help="address of an OSV database")
    parser.add_argument("--where-reachable", action="store_true", help="exit 0, with a line, where it does not answer")
    parser.add_argument("locks", nargs="*", type=Path, default=sorted((ROOT / "locks").glob("*.txt")))
    options = parser.parse_args(arguments)
    pins = {(pin.name, pin.version): pin for lock in options.locks for pin in read_pins(lock.read_text("utf-8"))}
    try:
        found = advisories(tuple(pins.values()), options.database)
    except UnreachableDatabaseError as error:
        print(f"audit: NOT DONE, nothing was looked up: {error}", file=sys.stderr)
        return 0 if options.where_reachable else EXIT_UNKNOWN
    for package, names in sorted(found.items()):
        print(f"audit: {package}: {', '.join(names)}", file=sys.stderr)
    print(f"audit: {len(pins)} packages looked up, {len(found)} with advisories", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
