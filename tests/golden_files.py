"""Golden files: what a format looks like, byte for byte. `MELTGUARD_UPDATE_GOLDEN=1` writes them anew, for review."""

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def golden_text(name: str, current: str) -> str:
    """Return a golden file's text, after writing the current one there if asked to.

    Args:
        name: path below `tests/golden`.
        current: what the code makes now.
    """
    path = GOLDEN / name
    if os.environ.get("MELTGUARD_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(current, encoding="utf-8")
    return path.read_text(encoding="utf-8")
