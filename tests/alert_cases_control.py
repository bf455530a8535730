"""The cases of the alerts on forecast, controller, inference and alerting itself; see ``tests.alert_cases``."""

from __future__ import annotations

from collections.abc import Iterator

from tests.alert_cases import HARDWARE_CASES, MARGIN, POOL, REGION, RUNG, Case, gpu, hold, rise
from tests.alert_cases_budgets import BUDGET_CASES
from tools.monitoring.catalogue import GROUPS

FILES = tuple(dict.fromkeys(group.file for group in GROUPS))


def _needed(tier: str, gpus: int, q: str = "0.9", horizon: str = "3600") -> dict[str, str]:
    series = f'meltguard_forecast_gpus_needed{{{REGION},tier="{tier}",q="{q}",horizon="{horizon}"}}'
    return {series: f"{hold(8, '2m')} {hold(gpus, '30m')}"}


def _limits(nodes: int) -> dict[str, str]:
    return {
        f'meltguard_pool_nodes_limit{{{POOL},bound="max"}}': hold(nodes, "40m"),
        f"meltguard_pool_gpus_per_node{{{POOL}}}": hold(8, "40m"),
    }


def _forecast() -> Iterator[Case]:
    yield Case(
        alert="DemandSurgeExceedsCapacity",
        why="two tiers together need more than ten nodes of eight GPUs",
        series={**_needed("free", 60), **_needed("paid", 30), **_limits(10)},
        fires="3m",
    )
    yield Case(
        alert="DemandSurgeExceedsCapacity",
        why="a surge that the pool can serve, and one that only the 99 % quantile sees",
        series={**_needed("free", 60), **_needed("paid", 20), **_needed("free", 600, q="0.99"), **_limits(10)},
    )
    success = 'meltguard_forecast_last_success_timestamp_seconds{cluster="c"}'
    yield Case(alert="ForecastStale", why="none for ten minutes", series={success: hold(0, "30m")}, fires="12m15s")
    yield Case(
        alert="ForecastStale",
        why="one every five minutes",
        series={success: " ".join(hold(start * 300, "5m") for start in range(6))},
    )
    coverage = f'meltguard_forecast_interval_coverage_ratio{{{REGION},tier="free"}}'
    yield Case(
        alert="ForecastUncalibrated",
        why="70 % in an interval of 90 % for an hour",
        series={coverage: f"{hold(0.9, '2m')} {hold(0.7, '2h')}"},
        fires="1h2m",
    )
    yield Case(
        alert="ForecastUncalibrated",
        why="70 % for an hour in which scrapes are lost",
        series={
            coverage: f"{hold(0.9, '2m')} {hold(0.7, '30m')} stale {hold(0.7, '9m')} stale stale {hold(0.7, '1h')}"
        },
        fires="1h2m",
    )
    yield Case(
        alert="ForecastUncalibrated",
        why="75 %, and 50 % for less than an hour",
        series={
            coverage: hold(0.75, "3h"),
            coverage.replace("free", "paid"): f"{hold(0.5, '59m')} {hold(0.9, '2h')}",
        },
        until="3h",
    )


def _ladder() -> Iterator[Case]:
    yield Case(alert="MitigationActive", why="rung 3", series={RUNG: f"{hold(2, '2m')} {hold(3, '10m')}"}, fires="2m")
    former = 'meltguard_controller_%s{cluster="c",instance="%s"%s}'
    yield Case(
        alert="MitigationActive",
        why="a replica that led once still shows its rung",
        series={
            former % ("rung", "old", ',region="eu"'): hold(6, "30m"),
            former % ("rung", "new", ',region="eu"'): hold(0, "30m"),
            former % ("leader", "old", ""): hold(0, "30m"),
            former % ("leader", "new", ""): hold(1, "30m"),
        },
    )
    yield Case(alert="MitigationActive", why="nodes are bought", series={RUNG: hold(2, "30m")})
    yield Case(
        alert="MitigationLadderExhausted",
        why="rung 6 and no margin",
        series={RUNG: f"{hold(5, '2m')} {hold(6, '20m')}", gpu(MARGIN): hold(3, "22m")},
        fires="5m",
    )
    yield Case(
        alert="MitigationLadderExhausted",
        why="rung 6 with one hot GPU among twenty cool ones",
        series={RUNG: hold(6, "30m"), gpu(MARGIN, "n9"): hold(1, "30m")}
        | {gpu(MARGIN, f"n{number}"): hold(12, "30m") for number in range(20, 40)},
    )
    yield Case(
        alert="MitigationLadderExhausted",
        why="no margin, but a rung is left",
        series={RUNG: hold(5, "30m"), gpu(MARGIN): hold(2, "30m")},
    )
    breaker = f'meltguard_controller_breaker_open{{{REGION},instance="%s"}}'
    leads = 'meltguard_controller_leader{cluster="c",instance="%s"}'
    yield Case(
        alert="MitigationBreakerOpen",
        why="a region's breaker opens, and closes when a person closes it",
        series={breaker % "a": f"{hold(0, '2m')} {hold(1, '10m')} {hold(0, '10m')}", leads % "a": hold(1, "22m")},
        fires="2m",
        ends="14m",
    )
    yield Case(
        alert="MitigationBreakerOpen",
        why="breakers are closed, and a replica that led once saw one open",
        series={
            breaker % "a": hold(0, "30m"),
            leads % "a": hold(1, "30m"),
            breaker % "b": hold(1, "30m"),
            leads % "b": hold(0, "30m"),
        },
    )
    toggles = " ".join(hold(2 + 2 * (number % 2), "5m") for number in range(12))
    yield Case(alert="MitigationFlapping", why="rung 3 crossed five times", series={RUNG: toggles}, fires="25m")
    up_and_down = " ".join(hold(rung, "4m") for rung in (0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0))
    yield Case(
        alert="MitigationFlapping",
        why="the whole ladder up and down within the hour",
        series={RUNG: up_and_down},
        until="52m",
    )


def _controller() -> Iterator[Case]:
    actions = 'meltguard_controller_actions_total{cluster="c",kind="nodes",result="%s"}'
    yield Case(
        alert="ActuationFailing",
        why="every action is rejected",
        series={actions % "rejected": rise(0, 1, "30m"), actions % "done": hold(50, "30m")},
        fires="5m45s",
        until="20m",
    )
    yield Case(
        alert="ActuationFailing",
        why="two actions of five, or all of two, fail; and the cloud is out of stock",
        series={
            actions % "conflict": rise(0, 2, "30m"),
            actions % "done": rise(0, 3, "30m"),
            (actions % "time_out").replace("nodes", "flags"): f"{hold(0, '5m')} {hold(2, '25m')}",
            (actions % "stock_out").replace("nodes", "buffer"): rise(0, 1, "30m"),
        },
    )
    leader = 'meltguard_controller_leader{cluster="c",job="meltguard-operator",instance="%s"}'
    yield Case(
        alert="ControllerNoLeader",
        why="no replica leads",
        series={leader % "a": f"{hold(1, '2m')} {hold(0, '20m')}", leader % "b": hold(0, "22m")},
        fires="3m",
    )
    yield Case(
        alert="ControllerNoLeader",
        why="two replicas lead",
        series={leader % "a": hold(1, "22m"), leader % "b": f"{hold(0, '2m')} {hold(1, '20m')}"},
        fires="3m",
    )
    yield Case(
        alert="ControllerNoLeader",
        why="no replica is seen",
        series={leader % "a": f"{hold(1, '2m')} stale"},
        fires="3m",
    )
    yield Case(
        alert="ControllerNoLeader",
        why="a failover of 45 s",
        series={
            leader % "a": f"{hold(1, '2m')} {hold(0, '20m')}",
            leader % "b": f"{hold(0, '2m45s')} {hold(1, '20m')}",
        },
        until="20m",
    )
    last = 'meltguard_controller_last_pass_timestamp_seconds{cluster="c",instance="%s"}'
    yield Case(alert="ControllerReconcileStalled", why="no pass", series={last % "a": hold(0, "20m")}, fires="3m15s")
    yield Case(
        alert="ControllerReconcileStalled",
        why="the new leader passes, the old one's time stands still",
        series={last % "a": hold(0, "30m"), last % "b": rise(0, 15, "30m")},
    )
    age = 'meltguard_controller_input_age_seconds{cluster="c",input="thermal"}'
    yield Case(
        alert="ControllerInputStale",
        why="200 s old for five minutes",
        series={age: f"{hold(5, '2m')} {hold(200, '20m')}"},
        fires="7m",
    )
    yield Case(
        alert="ControllerInputStale",
        why="a restart of Prometheus",
        series={age: f"{hold(5, '2m')} {rise(5, 15, '6m')} {hold(5, '20m')}"},
    )


def _pools() -> Iterator[Case]:
    nodes = f'meltguard_pool_nodes{{{POOL},state="%s"}}'
    wait = f'meltguard_inference_estimated_wait_seconds{{{POOL},instance="p1"}}'
    yield Case(
        alert="NodePoolAtMax",
        why="all ten nodes wanted, and a wait of 20 s",
        series={nodes % "desired": f"{hold(9, '2m')} {hold(10, '40m')}", wait: hold(20, "42m"), **_limits(10)},
        fires="17m",
    )
    lossy = f"{hold(9, '2m')} {hold(10, '9m')} stale {hold(10, '30m')}"
    yield Case(
        alert="NodePoolAtMax",
        why="a lost scrape does not begin the hold anew",
        series={nodes % "desired": lossy, wait: hold(20, "42m"), **_limits(10)},
        fires="17m",
    )
    yield Case(
        alert="NodePoolAtMax",
        why="all nodes wanted, but nobody waits",
        series={nodes % "desired": hold(10, "40m"), wait: hold(3, "40m"), **_limits(10)},
    )
    yield Case(
        alert="NodePoolAtMax",
        why="a wait, but a node may still be added",
        series={nodes % "desired": hold(9, "40m"), wait: hold(50, "40m"), **_limits(10)},
    )
    yield Case(
        alert="NodePoolProvisioningStuck",
        why="two nodes do not come",
        series={nodes % "desired": f"{hold(4, '5m')} {hold(6, '40m')}", nodes % "serving": hold(4, "45m")},
        fires="20m",
    )
    yield Case(
        alert="NodePoolProvisioningStuck",
        why="slow but moving",
        series={
            nodes % "desired": hold(8, "1h"),
            nodes % "serving": " ".join(hold(number, "12m") for number in (3, 4, 5, 6, 7)),
        },
        until="1h",
    )


def _pods() -> Iterator[Case]:
    wait = f'meltguard_inference_estimated_wait_seconds{{{POOL},instance="p1"}}'
    yield Case(
        alert="InferenceQueueSaturated",
        why="31 s for five minutes",
        series={wait: f"{hold(5, '2m')} {hold(31, '20m')}"},
        fires="7m",
    )
    yield Case(
        alert="InferenceQueueSaturated",
        why="30 s, and a burst of four minutes",
        series={wait: hold(30, "30m"), wait.replace("p1", "p2"): f"{hold(80, '4m')} {hold(2, '26m')}"},
    )
    revision = f'meltguard_flags_revision{{{POOL},instance="%s"}}'
    other_region = revision.replace('region="eu"', 'region="us"') % "c"
    yield Case(
        alert="InferenceFlagsLagging",
        why="one pod of two stays behind",
        series={revision % "a": f"{hold(4, '2m')} {hold(5, '20m')}", revision % "b": hold(4, "22m")},
        fires="4m",
        where='instance="b"',
    )
    yield Case(
        alert="InferenceFlagsLagging",
        why="a pod that is late by a minute, and another region",
        series={
            revision % "a": f"{hold(4, '2m')} {hold(5, '20m')}",
            revision % "b": f"{hold(4, '3m')} {hold(5, '20m')}",
            other_region: hold(1, "22m"),
        },
        until="20m",
    )
    requests = f'meltguard_inference_requests_received_total{{{REGION},tier="free",attempt="%s",outcome="%s"}}'
    yield Case(
        alert="InferenceQuotaRejectionsHigh",
        why="three first attempts of ten",
        series={
            requests % ("first", "quota"): rise(0, 30, "40m"),
            requests % ("first", "admitted"): rise(0, 70, "40m"),
        },
        fires="15m15s",
    )
    yield Case(
        alert="InferenceQuotaRejectionsHigh",
        why="one first attempt of five, and retries without end",
        series={
            requests % ("first", "quota"): rise(0, 20, "40m"),
            requests % ("first", "admitted"): rise(0, 80, "40m"),
            requests % ("retry", "quota"): rise(0, 900, "40m"),
        },
    )


def _meta() -> Iterator[Case]:
    errors = 'prometheus_notifications_errors_total{cluster="c",alertmanager="http://am"}'
    yield Case(
        alert="AlertDeliveryFailing",
        why="a batch is lost every minute",
        series={errors: f"{hold(0, '5m')} 1x3 2x3 3x3 4x3 5x3 6x3 7x3 8x3 9x3 {hold(10, '20m')}"},
        fires="9m",
        where='scope="alertmanager"',
    )
    requests = 'alertmanager_notification_requests%s_total{cluster="c",instance="am",integration="slack"}'
    yield Case(
        alert="AlertDeliveryFailing",
        why="one request of ten fails",
        series={requests % "": rise(0, 10, "30m"), requests % "_failed": rise(0, 1, "30m")},
        fires="5m15s",
        where='scope="receiver"',
    )
    yield Case(
        alert="AlertDeliveryFailing",
        why="a restart of Alertmanager, and a receiver that seldom fails",
        series={
            errors: f"{hold(0, '5m')} {hold(2, '25m')}",
            requests % "": rise(0, 100, "30m"),
            requests % "_failed": rise(0, 4, "30m"),
        },
    )
    yield Case(
        alert="MonitoringRulesMissing",
        why="only the file that watches the others is loaded",
        fires="5m",
        count=6,
        files=("meta",),
    )
    yield Case(alert="MonitoringRulesMissing", why="every file is loaded", files=FILES)
    yield Case(alert="Watchdog", why="always", fires="0s")


CASES: tuple[Case, ...] = (
    *HARDWARE_CASES,
    *_forecast(),
    *_ladder(),
    *_controller(),
    *_pools(),
    *_pods(),
    *BUDGET_CASES,
    *_meta(),
)
