"""Every runbook, in the order of the catalogue. Pure."""

from __future__ import annotations

from tools.monitoring.catalogue import ALERT_NAMES
from tools.monitoring.runbook import Runbook, index_page, runbook_page
from tools.monitoring.runbooks_controller import CONTROLLER_RUNBOOKS
from tools.monitoring.runbooks_hardware import HARDWARE_RUNBOOKS
from tools.monitoring.runbooks_inference import INFERENCE_RUNBOOKS
from tools.monitoring.runbooks_telemetry import TELEMETRY_RUNBOOKS

RUNBOOKS: tuple[Runbook, ...] = tuple(
    sorted(
        (*HARDWARE_RUNBOOKS, *TELEMETRY_RUNBOOKS, *CONTROLLER_RUNBOOKS, *INFERENCE_RUNBOOKS),
        key=lambda runbook: ALERT_NAMES.index(runbook.alert),
    )
)


def runbook_pages() -> dict[str, str]:
    """Return every page of the folder by file name."""
    return {"README.md": index_page(RUNBOOKS), **{f"{each.alert}.md": runbook_page(each) for each in RUNBOOKS}}
