"""The boards on the fleet and its heat. Pure."""

from __future__ import annotations

from tools.monitoring.dashboards.panels import BoardSpec, Kind, Panel, Query, one
from tools.monitoring.model import Board
from tools.monitoring.recordings import MARGIN, POOL_MARGIN, RUNG, THROTTLED
from tools.monitoring.slo import OBJECTIVES
from tools.monitoring.thresholds import BRAKE_SHARE, HEAT_SHARE, MARGIN_LOW, RUNG_USERS_NOTICE, SLOWDOWN_SOON

_R = 'region=~"$region"'
_HEAT_ALERTS = ("GPUThermalMarginLow", "GPUThermalSlowdownActive", "GPUThermalSlowdownPredicted")

_RUNGS = Panel(
    title="Rung of each region",
    description="How far up the ladder each region stands; from rung 3 on work is moved or limited.",
    unit="none",
    queries=one(f"{RUNG}{{{_R}}}", "{{region}}"),
    kind=Kind.STATES,
    threshold=RUNG_USERS_NOTICE,
    alerts=("MitigationActive", "MitigationLadderExhausted", "MitigationBreakerOpen", "MitigationFlapping"),
)

FLEET = BoardSpec(
    board=Board.FLEET,
    title="meltguard: fleet overview",
    description="Is anything wrong, and where? For the person on call, first.",
    panels=(
        Panel(
            title="Alerts that fire",
            description="By severity; the Watchdog (none) always fires.",
            unit="short",
            queries=one('count by (severity) (ALERTS{alertstate="firing"})', "{{severity}}"),
            kind=Kind.NUMBER,
            width=8,
        ),
        Panel(
            title="GPUs that answer",
            description="Of the GPUs that exporters have ever seen.",
            unit="percentunit",
            queries=one(
                f"pool:meltguard_gpus_up:sum{{{_R}}} / on (cluster, region, pool) pool:meltguard_gpus:count", "{{pool}}"
            ),
            kind=Kind.NUMBER,
            alerts=("GPUMissing", "GPUTelemetryStale"),
            width=8,
        ),
        Panel(
            title="GPUs slowed down by heat",
            description="Share of each pool's GPUs now.",
            unit="percentunit",
            queries=one(f"pool:meltguard_gpu_throttled_by_heat:ratio{{{_R}}}", "{{pool}}"),
            kind=Kind.NUMBER,
            alerts=("GPUThermalSlowdownActive",),
            width=8,
        ),
        Panel(
            title="Ten smallest margins",
            description="Degrees to each device's own first intervention.",
            unit="celsius",
            queries=one(f"bottomk(10, {MARGIN}{{{_R}}})", "{{node}} GPU {{gpu}}"),
            threshold=MARGIN_LOW,
            low_is_bad=True,
            alerts=_HEAT_ALERTS,
        ),
        _RUNGS,
        Panel(
            title="Power over its limit",
            description="Power of each pool over the sum of its GPUs' limits.",
            unit="percentunit",
            queries=one(
                f"pool:meltguard_gpu_power_watts:sum{{{_R}}}"
                " / on (cluster, region, pool) pool:meltguard_gpu_power_limit_watts:sum",
                "{{pool}}",
            ),
        ),
        Panel(
            title="How fast the error budgets burn",
            description="Error ratio of an hour over the budget; 1 spends a month's budget in a month, 14.4 pages.",
            unit="none",
            queries=tuple(
                Query(
                    expr=f"{objective.ratio('1h')}{{{_R}}} / {objective.budget:g}",
                    legend=f"{objective.alert} {{{{region}}}}",
                )
                for objective in OBJECTIVES
            ),
            alerts=tuple(objective.alert for objective in OBJECTIVES),
        ),
        Panel(
            title="Hardware faults of the last hour",
            description="XIDs of the hardware class and uncorrected memory errors.",
            unit="short",
            queries=(
                Query(
                    expr="sum by (node, gpu, xid)"
                    f' (increase(meltguard_gpu_xid_errors_total{{class="hardware",{_R}}}[1h]))',
                    legend="{{node}} GPU {{gpu}} XID {{xid}}",
                ),
                Query(
                    expr="sum by (node, gpu)"
                    f' (increase(meltguard_gpu_ecc_errors_total{{kind="uncorrected",{_R}}}[1h]))',
                    legend="{{node}} GPU {{gpu}} uncorrected",
                ),
            ),
            alerts=("GPUHardwareXid", "GPUUncorrectableMemoryError"),
            width=24,
        ),
    ),
)

THERMAL = BoardSpec(
    board=Board.THERMAL,
    title="meltguard: heat and mitigation",
    description="How hot, how near to slowdown, and what is done about it.",
    panels=(
        Panel(
            title="Margin of each pool",
            description="At its hottest GPU, a tenth and half of its GPUs. Rungs answer to the tenth.",
            unit="celsius",
            queries=(
                Query(expr=f"{POOL_MARGIN}:min{{{_R}}}", legend="{{pool}} hottest"),
                Query(expr=f"{POOL_MARGIN}:p10{{{_R}}}", legend="{{pool}} tenth"),
                Query(expr=f"{POOL_MARGIN}:p50{{{_R}}}", legend="{{pool}} half"),
            ),
            threshold=MARGIN_LOW,
            low_is_bad=True,
            alerts=_HEAT_ALERTS,
        ),
        _RUNGS,
        Panel(
            title="Time to slowdown",
            description="Cautious estimate at present power, nearest GPU of each pool; infinite: not in sight.",
            unit="s",
            queries=one(f"pool:meltguard_gpu_seconds_to_slowdown:min{{{_R}}}", "{{pool}}"),
            threshold=SLOWDOWN_SOON,
            low_is_bad=True,
            alerts=("GPUThermalSlowdownPredicted",),
        ),
        Panel(
            title="Time slowed down by heat",
            description="Share of the last five minutes, each pool's worst GPU.",
            unit="percentunit",
            queries=one(
                f'max by (pool) ({THROTTLED}{{reason=~"sw_thermal|hw_thermal",{_R}}})',
                "{{pool}}",
            ),
            threshold=HEAT_SHARE,
            alerts=("GPUThermalSlowdownActive",),
        ),
        Panel(
            title="Time under the power brake",
            description="Share of the last five minutes, each pool's worst GPU.",
            unit="percentunit",
            queries=one(f'max by (pool) ({THROTTLED}{{reason="hw_power_brake",{_R}}})', "{{pool}}"),
            threshold=BRAKE_SHARE,
            alerts=("GPUPowerBrakeActive",),
        ),
        Panel(
            title="Inlet temperature",
            description="Estimated temperature at zero power, 95 % quantile of each pool: the room.",
            unit="celsius",
            queries=one(f"pool:meltguard_gpu_inlet_temperature_estimate_celsius:p95{{{_R}}}", "{{pool}}"),
        ),
        Panel(
            title="Thermal resistance",
            description="Fitted rise per watt, 95 % quantile of each pool: fans, dust, paste.",
            unit="none",
            queries=one(f"pool:meltguard_gpu_thermal_resistance_celsius_per_watt:p95{{{_R}}}", "{{pool}} °C/W"),
        ),
        Panel(
            title="Power, and what could be sustained",
            description="Mean power of a GPU, and the power whose plateau stays below slowdown for 9 GPUs of 10.",
            unit="watt",
            queries=(
                Query(expr=f"pool:meltguard_gpu_power_watts:avg{{{_R}}}", legend="{{pool}} mean"),
                Query(expr=f"pool:meltguard_gpu_sustainable_power_watts:p10{{{_R}}}", legend="{{pool}} sustainable"),
            ),
        ),
        Panel(
            title="Temperatures",
            description="Hottest core and memory of each pool.",
            unit="celsius",
            queries=(
                Query(expr=f"max by (pool) (meltguard_gpu_temperature_celsius{{{_R}}})", legend="{{pool}} core"),
                Query(
                    expr=f"max by (pool) (meltguard_gpu_memory_temperature_celsius{{{_R}}})", legend="{{pool}} memory"
                ),
            ),
        ),
    ),
)
