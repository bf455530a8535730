"""Alerts on alerting itself: delivery fails, rules are missing, and the one that always fires. Pure."""

from __future__ import annotations

from tools.monitoring.model import Alert, Board, Component, Recording, Severity
from tools.monitoring.thresholds import DELIVERY_ERRORS, DELIVERY_FAILURES

LOADED = "meltguard_rules:loaded:info"
_OUTSIDE = "The controller does not need alerts to act; people do."


_DELIVERY: tuple[Alert, ...] = (
    Alert(
        name="AlertDeliveryFailing",
        severity=Severity.WARNING,
        component=Component.META,
        board=Board.PIPELINE,
        expr="sum by (cluster, alertmanager) (increase(prometheus_notifications_errors_total[5m]))"
        f" > {DELIVERY_FAILURES}",
        hold="2m",
        labels={"scope": "alertmanager"},
        summary="Alertmanager {{ $labels.alertmanager }} does not take alerts",
        description="{{ $value | printf `%.0f` }} batches of alerts were lost within 5 minutes.",
        controller=_OUTSIDE,
        why="a restart of Alertmanager is shorter",
    ),
    Alert(
        name="AlertDeliveryFailing",
        severity=Severity.WARNING,
        component=Component.META,
        board=Board.PIPELINE,
        expr="sum by (cluster, instance, integration)"
        " (rate(alertmanager_notification_requests_failed_total[5m]))\n"
        "  / (sum by (cluster, instance, integration)"
        " (rate(alertmanager_notification_requests_total[5m])) > 0)\n"
        f"  > {DELIVERY_ERRORS}",
        hold="5m",
        labels={"scope": "receiver"},
        summary="Notifications by {{ $labels.integration }} fail",
        description="{{ $value | humanizePercentage }} of the requests to the receiver fail.",
        controller=_OUTSIDE,
        why="requests, not notifications, are counted: those count as failed only when their retries end",
    ),
)


def loaded_mark(file: str) -> Recording:
    """Return the rule that shows that a rule file is loaded."""
    return Recording(record=LOADED, expr="vector(1)", labels={"file": file})


def meta_alerts(files: tuple[str, ...]) -> tuple[Alert, ...]:
    """Return the alerts that watch the others.

    Args:
        files: Stems of the rule files that must be loaded.

    Returns:
        The alerts; what they cannot notice is noticed by whoever expects the Watchdog.
    """
    return (
        *_DELIVERY,
        *(
            Alert(
                name="MonitoringRulesMissing",
                severity=Severity.CRITICAL,
                component=Component.META,
                board=Board.PIPELINE,
                expr=f'absent({LOADED}{{file="{file}"}})',
                hold="5m",
                labels={"rules": file},
                summary=f"The rule file {file} is not loaded",
                description="Its alerts cannot fire. It was left out, renamed, or cannot be read.",
                controller=_OUTSIDE,
                why="a reload takes seconds; five minutes cover a restart",
            )
            for file in files
        ),
        Alert(
            name="Watchdog",
            severity=Severity.NONE,
            component=Component.META,
            board=Board.PIPELINE,
            expr="vector(1)",
            summary="Alerting works",
            description="This always fires. Whoever receives it must raise the alarm when it stops.",
            controller=_OUTSIDE,
            why="its absence is the alarm",
        ),
    )
