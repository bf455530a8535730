"""What the commands print and write for a small run set, byte by byte.

After an intended change run the tests once with ``MELTGUARD_UPDATE_GOLDEN=1`` and read the difference.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from controller.reporting.document import run_set_document
from controller.reporting.html_report import render_report
from controller.reporting.text_table import summary_table
from tests.reporting_samples import sample_run_set, sample_scenario

FOLDER = Path(__file__).parent
SMALL = sample_run_set(num_samples=24, sample_seconds=900.0)


def assert_golden(name: str, text: str) -> None:
    """Compare with the file of that name, or write it where an update is asked for."""
    path = FOLDER / name
    if os.environ.get("MELTGUARD_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_document_is_the_golden_one() -> None:
    """The replay document keeps its keys, their order and its numbers."""
    run_set = sample_run_set(("meltguard",), num_samples=3, sample_seconds=3600.0)
    assert_golden("run_set.json", run_set_document(run_set).decode())


def test_text_tables_are_the_golden_ones() -> None:
    """The short and the long table keep their rows, words and alignment."""
    assert_golden("summary.txt", summary_table(SMALL) + "\n" + summary_table(SMALL, brief=False))


def test_page_is_the_golden_one() -> None:
    """The page keeps its structure, words and drawings; style and script are left out of the comparison."""
    page = render_report(SMALL, sample_scenario(), command="meltguard demo --seed 0")
    page = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page, flags=re.DOTALL)
    assert_golden("report.html", page.replace("><", ">\n<"))
