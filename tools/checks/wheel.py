"""The wheel holds the four packages in full, and nothing else. Run by `make wheel-test`."""

import sys
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from tools.checks.repository import PACKAGES, report, repository_files


def problems_of(names: Collection[str], expected: Collection[str]) -> Iterator[str]:
    """Compare a wheel's content with the working tree.

    Args:
        names: the wheel's files.
        expected: the files of the four packages in the working tree.

    Yields:
        One line per problem.
    """
    content = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    for name in sorted(content - set(expected)):
        yield f"holds {name}, which is no file of {', '.join(PACKAGES)}"
    for name in sorted(set(expected) - content):
        yield f"lacks {name}"
    for package in PACKAGES:
        if f"{package}/py.typed" not in content:
            yield f"lacks {package}/py.typed"
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        yield "lacks the licence"


def main(wheel: str) -> int:
    """Check one wheel.

    Args:
        wheel: its file name.

    Returns:
        The exit code.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    expected = [path.as_posix() for path in repository_files(*(f"{package}/" for package in PACKAGES))]
    return report(f"wheel {Path(wheel).name}", problems_of(names, expected))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
