"""Markdown that is the same on every machine: no column width, no clock. Used by the writers of reference pages."""

from collections.abc import Iterable, Sequence

NOTHING = "–"


def code(text: str) -> str:
    """Return text as inline code; nothing becomes a dash."""
    return f"`{text}`" if text else NOTHING


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table.

    Args:
        heads: One heading a column.
        rows: Cells, as many a row as there are headings; an empty one becomes a dash.

    Returns:
        The table with a final newline.
    """
    lines = [_row(heads), "|" + "---|" * len(heads)]
    lines += [_row(row) for row in rows]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    texts = (" ".join(cell.split()).replace("|", "\\|") or NOTHING for cell in cells)
    return f"| {' | '.join(texts)} |"
