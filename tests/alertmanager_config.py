"""The shipped Alertmanager configuration, led to loopback: same routes, inhibitions and templates, other addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tools.checks.repository import ROOT
from tools.monitoring.files import FOLDER

CONFIGURATION = ROOT / FOLDER / "alertmanager" / "alertmanager.yml"
ROUTING_KEY = "0123456789abcdef0123456789abcdef"


def loopback_configuration(directory: Path, url: str, *, group_wait: str = "1s") -> dict[str, Any]:
    """Return the shipped configuration with every receiver at ``url`` and short waits.

    Args:
        directory: Where the secrets are written.
        url: Base address of the receiver, with a slash at the end.
        group_wait: How long a group waits for more; long enough for a cause to come before its symptoms.

    Returns:
        The configuration.
    """
    configuration: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    (directory / "slack").write_text(f"{url}slack", encoding="utf-8")
    (directory / "pagerduty").write_text(ROUTING_KEY, encoding="utf-8")
    configuration["global"] |= {"slack_api_url_file": str(directory / "slack"), "pagerduty_url": f"{url}pagerduty"}
    configuration["templates"] = [str(CONFIGURATION.parent / pattern) for pattern in configuration["templates"]]
    for route in (configuration["route"], *configuration["route"]["routes"]):
        route |= {"group_wait": group_wait, "group_interval": "1s"}
    for receiver in configuration["receivers"]:
        for pager in receiver.get("pagerduty_configs", ()):
            pager["routing_key_file"] = str(directory / "pagerduty")
        for webhook in receiver.get("webhook_configs", ()):
            webhook["url"] = f"{url}dead-mans-switch"
    return configuration
