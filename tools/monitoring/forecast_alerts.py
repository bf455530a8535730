"""Alerts on the demand forecast: a surge beyond what can be bought, and forecasts that cannot be relied on. Pure."""

from __future__ import annotations

from tools.monitoring.model import Alert, Board, Component, Severity
from tools.monitoring.recordings import POOL_GPUS_MAX, REGION, bridged
from tools.monitoring.thresholds import COVERAGE_LOW, DEMAND_QUANTILE, FORECAST_AGE
from tools.monitoring.wording import CONTROLLER_IN_FLEET, CONTROLLER_IN_REGION

FORECAST_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="DemandSurgeExceedsCapacity",
        severity=Severity.WARNING,
        component=Component.FORECAST,
        board=Board.FORECAST,
        expr=f"max by ({REGION}) (\n"
        f'  sum by ({REGION}, horizon) (meltguard_forecast_gpus_needed{{q="{DEMAND_QUANTILE}"}})\n'
        f")\n  > on ({REGION}) sum by ({REGION}) ({POOL_GPUS_MAX})",
        hold="1m",
        keep="10m",
        summary="The demand forecast of region {{ $labels.region }} needs more GPUs than its pools may have",
        description="{{ $value | printf `%.0f` }} GPUs are needed at the 90 % quantile within the forecast's horizon.",
        controller=CONTROLLER_IN_REGION,
        why="a surge that the pools can serve is no alert; two forecasts in a row must say so, and no more, so that "
        "the ticket comes before the first limit",
    ),
    Alert(
        name="ForecastStale",
        severity=Severity.WARNING,
        component=Component.FORECAST,
        board=Board.FORECAST,
        expr=f"time() - max by (cluster) (meltguard_forecast_last_success_timestamp_seconds) > {FORECAST_AGE}",
        hold="2m",
        summary="The last demand forecast is {{ $value | humanizeDuration }} old",
        description="No new one has succeeded since.",
        controller="The controller plans on what it measures now and holds nodes and limits. " + CONTROLLER_IN_FLEET,
        why="two minutes let a restart catch up",
    ),
    Alert(
        name="ForecastUncalibrated",
        severity=Severity.WARNING,
        component=Component.FORECAST,
        board=Board.FORECAST,
        expr=f"min by ({REGION}, tier) ({bridged('meltguard_forecast_interval_coverage_ratio')}) < {COVERAGE_LOW}",
        hold="1h",
        keep="10m",
        summary="The 90 % interval of the demand forecast for {{ $labels.region }} {{ $labels.tier }} does not hold",
        description="It held what came only in {{ $value | humanizePercentage }} of its steps.",
        controller="The forecaster widens its intervals by itself; this fires when that is not enough.",
        why="the intervals recalibrate within the hour after a surge begins",
    ),
)
