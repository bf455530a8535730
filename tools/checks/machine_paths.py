"""No file of the repository names a path of somebody's machine. Run by `make check`."""

import re
from collections.abc import Iterator
from pathlib import Path

from tools.checks.repository import ROOT, report, repository_files

# Put together here, so that this file does not find itself.
_HOMES = "|".join(("ro" + "ot", "ho" + "me/[A-Za-z0-9_.-]+", "Us" + "ers/[A-Za-z0-9_.-]+", "wo" + "rk"))
_MACHINE_PATH = re.compile(rf"(?<![\w./-])/(?:{_HOMES})(?=/[\w.]|[\s\"'`:,)]|$)", re.MULTILINE)
# Users that container images bring along; their homes are the same on every machine.
_IMAGE_HOMES = re.compile(r"/ho" r"me/(?:nonroot|meltguard)\b")
LIMIT_BYTES = 4_000_000


def machine_paths(text: str) -> Iterator[tuple[int, str]]:
    """Find paths that only exist on one machine.

    Args:
        text: a file's text.

    Yields:
        Line number from 1, and the path's beginning.
    """
    for match in _MACHINE_PATH.finditer(text):
        if not _IMAGE_HOMES.match(match.group()):
            yield text.count("\n", 0, match.start()) + 1, match.group()


def main() -> int:
    """Check every text file of the repository.

    Returns:
        The exit code.
    """
    found: list[str] = []
    for path in repository_files():
        text = _text_of(ROOT / path)
        for line, where in machine_paths(text):
            found.append(f"{path}:{line}: names {where}, a path of one machine; make it relative or a setting")
    return report("machine paths", found)


def _text_of(path: Path) -> str:
    content = path.read_bytes()[:LIMIT_BYTES]
    return "" if b"\0" in content else content.decode("utf-8", errors="replace")


if __name__ == "__main__":
    raise SystemExit(main())
