"""Alerts on the inference pods, as their users feel them; the budgets' alerts stand in ``slo``. Pure."""

from __future__ import annotations

from tools.monitoring.model import Alert, Board, Component, Severity
from tools.monitoring.recordings import POOL, REGION, bridged
from tools.monitoring.slo import slo_alerts
from tools.monitoring.thresholds import QUOTA_SHARE, WAIT_LONG
from tools.monitoring.wording import CONTROLLER_IN_REGION

_REQUESTS = "meltguard_inference_requests_received_total"

INFERENCE_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="InferenceQueueSaturated",
        severity=Severity.WARNING,
        component=Component.INFERENCE,
        board=Board.INFERENCE,
        expr=f"max by ({POOL}) ({bridged('meltguard_inference_estimated_wait_seconds')}) > {WAIT_LONG}",
        hold="5m",
        keep="2m",
        summary="Requests at pool {{ $labels.pool }} wait {{ $value | humanizeDuration }}",
        description="Users give up after about 90 s, and what they leave behind was work for nothing.",
        controller=CONTROLLER_IN_REGION,
        why="a burst drains within its own length; five minutes are not a burst",
    ),
    *slo_alerts(CONTROLLER_IN_REGION),
    Alert(
        name="InferenceQuotaRejectionsHigh",
        severity=Severity.INFO,
        component=Component.INFERENCE,
        board=Board.INFERENCE,
        expr=f'sum by ({REGION}, tier) (rate({_REQUESTS}{{attempt="first", outcome="quota"}}[10m]))\n'
        f'  / (sum by ({REGION}, tier) (rate({_REQUESTS}{{attempt="first"}}[10m])) > 0)\n'
        f"  > {QUOTA_SHARE}",
        hold="15m",
        summary="Tier {{ $labels.tier }} in {{ $labels.region }} is often refused by its quota",
        description="{{ $value | humanizePercentage }} of its first attempts were.",
        controller=CONTROLLER_IN_REGION,
        why="it informs: quotas work as they were set",
    ),
    Alert(
        name="InferenceFlagsLagging",
        severity=Severity.WARNING,
        component=Component.INFERENCE,
        board=Board.PIPELINE,
        expr=f"max by ({REGION}) (meltguard_flags_revision)\n"
        f"  - on ({REGION}) group_right () min by ({POOL}, instance) (meltguard_flags_revision) > 0",
        hold="2m",
        summary="The pod at {{ $labels.instance }} works with old flags",
        description="It is {{ $value }} revisions behind the newest in its region; limits and restores miss it.",
        controller=CONTROLLER_IN_REGION,
        why="flags reach a healthy pod within seconds",
    ),
)
