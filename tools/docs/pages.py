"""Which reference pages there are. Used by `make docs` and by the test that compares them with the code."""

from tools.docs.command_reference import command_line_page
from tools.docs.metrics_reference import metrics_page
from tools.docs.noise_reference import noise_page
from tools.docs.scenario_reference import scenario_page, scenario_schema_text
from tools.docs.signal_reference import signal_rules_text, signals_page

FOLDER = "docs/reference"


def reference_pages() -> dict[str, str]:
    """Return every page of the folder that is written by the code: its text by file name."""
    return {
        "alert-noise.md": noise_page(),
        "command-line.md": command_line_page(),
        "metrics.md": metrics_page(),
        "scenario.md": scenario_page(),
        "scenario.schema.json": scenario_schema_text(),
        "signals.md": signals_page(),
        "signals.rules.yaml": signal_rules_text(),
    }
