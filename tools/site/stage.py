"""Stages the pages for MkDocs: every tracked page and all that pages link to, at the places that they have here.

Pages link to files beside `docs/` (manifests, the README), and must stay readable where they lie. So the whole tree of
pages is the site, and no link is rewritten; what is not a page and not linked to stays out.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.checks.links import relative_links
from tools.checks.repository import ROOT, repository_files

STAGED = ROOT / "build" / "site-source"


def pages() -> tuple[Path, ...]:
    """Return the tracked pages, relative to the root of the repository."""
    return tuple(sorted(Path(path) for path in repository_files("*.md")))


def linked(page: Path) -> set[Path]:
    """Return the files that a page links to, relative to the root; folders are left out."""
    found = set()
    for target in relative_links((ROOT / page).read_text(encoding="utf-8")):
        path = (ROOT / page.parent / target.partition("#")[0]).resolve()
        if path.is_file() and path.is_relative_to(ROOT):
            found.add(path.relative_to(ROOT))
    return found


def stage(folder: Path) -> int:
    """Copy pages and what they link to.

    Args:
        folder: Where they go; emptied first.

    Returns:
        How many files were copied.
    """
    shutil.rmtree(folder, ignore_errors=True)
    wanted = set(pages())
    for page in pages():
        wanted |= linked(page)
    for path in sorted(wanted):
        copy = folder / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy)
    return len(wanted)


def main() -> int:
    """Stage the pages.

    Returns:
        The exit code.
    """
    print(f"site: {stage(STAGED)} files staged in {STAGED.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
