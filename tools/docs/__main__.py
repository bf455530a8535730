"""Writes the reference pages anew. Run by `make docs`; a test fails when they have drifted from the code."""

from tools.checks.repository import ROOT
from tools.docs.pages import FOLDER, reference_pages


def main() -> None:
    """Write every page that differs from what stands there."""
    folder = ROOT / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in reference_pages().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {FOLDER}/{name}")


if __name__ == "__main__":
    main()
