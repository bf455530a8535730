"""The boards on forecast and scaling. Pure."""

from __future__ import annotations

from tools.monitoring.dashboards.panels import BoardSpec, Kind, Panel, Query, one
from tools.monitoring.model import Board
from tools.monitoring.recordings import ACTIONS_FAILED_RATIO, POOL_GPUS_MAX
from tools.monitoring.thresholds import (
    ACTIONS_FAILED,
    COVERAGE_LOW,
    DEMAND_QUANTILE,
    FORECAST_AGE,
    INPUT_AGE,
    PASS_AGE,
)

_R = 'region=~"$region"'

FORECAST = BoardSpec(
    board=Board.FORECAST,
    title="meltguard: demand forecast",
    description="What is expected, and how far it may be trusted.",
    panels=(
        Panel(
            title="GPUs needed, and GPUs that the pools may have",
            description="Largest need within the horizon at the median and the 90 % quantile, over all tiers.",
            unit="short",
            queries=(
                *(
                    Query(
                        expr="max by (cluster, region) (sum by (cluster, region, horizon)"
                        f' (meltguard_forecast_gpus_needed{{q="{level}",{_R}}}))',
                        legend=f"{{{{region}}}} {level}",
                    )
                    for level in ("0.5", str(DEMAND_QUANTILE))
                ),
                Query(expr=f"sum by (cluster, region) ({POOL_GPUS_MAX}{{{_R}}})", legend="{{region}} at most"),
            ),
            alerts=("DemandSurgeExceedsCapacity",),
        ),
        Panel(
            title="Demand by quantile",
            description="Requests per step over all tiers, at the farthest horizon and nearer ones.",
            unit="short",
            queries=one(
                f"sum by (region, q, horizon) (meltguard_forecast_demand{{{_R}}})", "{{region}} {{q}} +{{horizon}}"
            ),
        ),
        Panel(
            title="Observed coverage of the 90 % interval",
            description="Share of past intervals that held what came; 0.9 is right, above is cautious.",
            unit="percentunit",
            queries=one(f"meltguard_forecast_interval_coverage_ratio{{{_R}}}", "{{region}} {{tier}}"),
            threshold=COVERAGE_LOW,
            low_is_bad=True,
            alerts=("ForecastUncalibrated",),
        ),
        Panel(
            title="Age of the last forecast",
            description="Seconds since one succeeded.",
            unit="s",
            queries=one("time() - max(meltguard_forecast_last_success_timestamp_seconds)", "age"),
            threshold=FORECAST_AGE,
            alerts=("ForecastStale",),
        ),
        Panel(
            title="Surge state",
            description="The trigger's verdict by region and tier.",
            unit="none",
            queries=one(
                f"max by (region, tier, state) (meltguard_forecast_surge_state{{{_R}}}) == 1",
                "{{region}} {{tier}} {{state}}",
            ),
            kind=Kind.STATES,
            width=24,
        ),
    ),
)

SCALING = BoardSpec(
    board=Board.SCALING,
    title="meltguard: scaling and control",
    description="Does the controller decide, and do its decisions take effect?",
    panels=(
        Panel(
            title="Nodes by state",
            description="Asked for, created, ready, serving.",
            unit="short",
            queries=one(f"max by (pool, state) (meltguard_pool_nodes{{{_R}}})", "{{pool}} {{state}}"),
            alerts=("NodePoolAtMax", "NodePoolProvisioningStuck"),
        ),
        Panel(
            title="Learned lead time",
            description="From the order to the first image, by quantile.",
            unit="s",
            queries=one(f"max by (pool, q) (meltguard_pool_lead_time_seconds{{{_R}}})", "{{pool}} {{q}}"),
        ),
        Panel(
            title="Actions by result",
            description="Per second, by kind.",
            unit="ops",
            queries=one("sum by (kind, result) (rate(meltguard_controller_actions_total[5m]))", "{{kind}} {{result}}"),
            alerts=("ActuationFailing",),
        ),
        Panel(
            title="Share of actions that fail",
            description="Over ten minutes, by kind.",
            unit="percentunit",
            queries=one(ACTIONS_FAILED_RATIO, "{{kind}}"),
            threshold=ACTIONS_FAILED,
            alerts=("ActuationFailing",),
        ),
        Panel(
            title="Leaders",
            description="Exactly one is right.",
            unit="short",
            queries=one("sum(meltguard_controller_leader)", "leaders"),
            kind=Kind.NUMBER,
            alerts=("ControllerNoLeader",),
            width=8,
        ),
        Panel(
            title="Age of the last pass",
            description="A pass is due every 10 s.",
            unit="s",
            queries=one("time() - max(meltguard_controller_last_pass_timestamp_seconds)", "age"),
            threshold=PASS_AGE,
            alerts=("ControllerReconcileStalled",),
            width=8,
        ),
        Panel(
            title="Age of the inputs",
            description="At the last pass, by input.",
            unit="s",
            queries=one("max by (input) (meltguard_controller_input_age_seconds)", "{{input}}"),
            threshold=INPUT_AGE,
            alerts=("ControllerInputStale",),
            width=8,
        ),
        Panel(
            title="Duration of a pass, by step",
            description="99 % of the passes are shorter.",
            unit="s",
            queries=one(
                "histogram_quantile(0.99, sum by (step, le)"
                " (rate(meltguard_controller_pass_duration_seconds_bucket[5m])))",
                "{{step}}",
            ),
        ),
        Panel(
            title="Flags: from write to acknowledgement",
            description="Median and 99 % quantile.",
            unit="s",
            queries=tuple(
                Query(
                    expr=f"histogram_quantile({level}, sum by (le)"
                    " (rate(meltguard_controller_flag_propagation_seconds_bucket[5m])))",
                    legend=str(level),
                )
                for level in (0.5, 0.99)
            ),
            alerts=("InferenceFlagsLagging",),
        ),
    ),
)
