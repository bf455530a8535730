"""The boards on inference and on the monitoring itself. Pure."""

from __future__ import annotations

from tools.monitoring.dashboards.panels import BoardSpec, Kind, Panel, Query, one
from tools.monitoring.meta_alerts import LOADED
from tools.monitoring.model import Board
from tools.monitoring.slo import AVAILABILITY, TIME_TO_FIRST_TOKEN
from tools.monitoring.thresholds import SNAPSHOT_AGE, WAIT_LONG

_R = 'region=~"$region"'
_FIRST_TOKEN = "meltguard_inference_time_to_first_token_seconds_bucket"

INFERENCE = BoardSpec(
    board=Board.INFERENCE,
    title="meltguard: inference",
    description="What users feel, and who is refused why.",
    panels=(
        Panel(
            title="First attempts by outcome",
            description="Offered load before shedding; retries are left out.",
            unit="reqps",
            queries=one(
                "sum by (region, outcome)"
                f' (rate(meltguard_inference_requests_received_total{{attempt="first",{_R}}}[5m]))',
                "{{region}} {{outcome}}",
            ),
            alerts=("InferenceQuotaRejectionsHigh",),
        ),
        Panel(
            title="Estimated wait",
            description="What a new request faces, worst pod of each pool.",
            unit="s",
            queries=one(f"max by (pool) (meltguard_inference_estimated_wait_seconds{{{_R}}})", "{{pool}}"),
            threshold=WAIT_LONG,
            alerts=("InferenceQueueSaturated",),
        ),
        Panel(
            title="Time to first token",
            description="Median and 99 % quantile; points lead to traces where exemplars are stored.",
            unit="s",
            queries=tuple(
                Query(
                    expr=f"histogram_quantile({level}, sum by (region, le) (rate({_FIRST_TOKEN}{{{_R}}}[5m])))",
                    legend=f"{{{{region}}}} {level}",
                    exemplars=True,
                )
                for level in (0.5, 0.99)
            ),
            alerts=("InferenceTTFTBudgetBurn",),
        ),
        Panel(
            title="Slow first tokens, by window",
            description="Share of requests beyond 2.5 s; two windows above their factor times 1 % alert.",
            unit="percentunit",
            queries=tuple(
                Query(expr=f"{TIME_TO_FIRST_TOKEN.ratio(window)}{{{_R}}}", legend=f"{{{{region}}}} {window}")
                for window in ("5m", "1h", "6h", "3d")
            ),
            alerts=("InferenceTTFTBudgetBurn",),
        ),
        Panel(
            title="Refused requests of the protected tier, by window",
            description="Share of its valid first attempts within the quota.",
            unit="percentunit",
            queries=tuple(
                Query(expr=f"{AVAILABILITY.ratio(window)}{{{_R}}}", legend=f"{{{{region}}}} {window}")
                for window in ("5m", "1h", "6h", "3d")
            ),
            alerts=("InferenceAvailabilityBudgetBurn",),
        ),
        Panel(
            title="Slots that the local guard allows",
            description="1 is all of them; below, the pod's own GPU is near its limit.",
            unit="percentunit",
            queries=one(f"min by (pool) (meltguard_inference_thermal_guard_ratio{{{_R}}})", "{{pool}}"),
        ),
        Panel(
            title="Tokens",
            description="Generated per second, and what the pods could do at full batch.",
            unit="short",
            queries=(
                Query(expr=f"sum by (pool) (rate(meltguard_inference_tokens_total{{{_R}}}[5m]))", legend="{{pool}}"),
                Query(
                    expr=f"sum by (pool) (meltguard_inference_capacity_tokens_per_second{{{_R}}})",
                    legend="{{pool}} capacity",
                ),
            ),
        ),
        Panel(
            title="Flag revision",
            description="Every pod of a region works with the newest one.",
            unit="none",
            queries=(
                Query(expr=f"max by (region) (meltguard_flags_revision{{{_R}}})", legend="{{region}} newest"),
                Query(expr=f"min by (region) (meltguard_flags_revision{{{_R}}})", legend="{{region}} oldest"),
            ),
            alerts=("InferenceFlagsLagging",),
        ),
    ),
)

PIPELINE = BoardSpec(
    board=Board.PIPELINE,
    title="meltguard: pipeline health",
    description="Can what the other boards show be believed?",
    panels=(
        Panel(
            title="Targets that answer",
            description="By job.",
            unit="percentunit",
            queries=one('avg by (job) (up{job=~"meltguard-.*"})', "{{job}}"),
            alerts=("GPUExporterDown", "GPUFleetTelemetryAbsent"),
        ),
        Panel(
            title="Age of the exporters' snapshots",
            description="The oldest ten; a reading is due every second.",
            unit="s",
            queries=one("topk(10, meltguard_exporter_snapshot_age_seconds)", "{{instance}}"),
            threshold=SNAPSHOT_AGE,
            alerts=("GPUTelemetryStale",),
        ),
        Panel(
            title="GPUs that are not read, by reason",
            description="0 with the reason while a GPU does not answer.",
            unit="short",
            queries=one("count by (reason) (meltguard_gpu_up == 0) or 0 * count(meltguard_gpu_up)", "{{reason}}"),
            alerts=("GPUTelemetryStale", "GPUMissing"),
        ),
        Panel(
            title="Implausible readings",
            description="Dropped per second, by reading.",
            unit="ops",
            queries=one(
                "sum by (reading) (rate(meltguard_exporter_rejected_samples_total[5m]))"
                " or 0 * sum(rate(meltguard_exporter_collections_total[5m]))",
                "{{reading}}",
            ),
        ),
        Panel(
            title="Rule files that are loaded",
            description="Six are right.",
            unit="short",
            queries=one(f"count({LOADED})", "files"),
            kind=Kind.NUMBER,
            alerts=("MonitoringRulesMissing",),
            width=8,
        ),
        Panel(
            title="Duration of rule groups",
            description="Last evaluation of each group; it must stay far below the group's interval.",
            unit="s",
            queries=one("max by (rule_group) (prometheus_rule_group_last_duration_seconds)", "{{rule_group}}"),
            width=8,
        ),
        Panel(
            title="Notifications that fail",
            description="Batches that Alertmanager did not take, and requests that receivers refused, in five minutes.",
            unit="short",
            queries=(
                Query(
                    expr="sum by (alertmanager) (increase(prometheus_notifications_errors_total[5m]))",
                    legend="{{alertmanager}}",
                ),
                Query(
                    expr="sum by (integration) (increase(alertmanager_notification_requests_failed_total[5m]))",
                    legend="{{integration}}",
                ),
            ),
            alerts=("AlertDeliveryFailing", "Watchdog"),
            width=8,
        ),
    ),
)
