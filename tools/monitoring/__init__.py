"""Rules, alerts, dashboards and runbook facts from one source; `python -m tools.monitoring` writes them."""
