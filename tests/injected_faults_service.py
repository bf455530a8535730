"""Events that alerts on controller, forecast, pods and alerting itself must call; see ``tests.injected_faults``."""

from __future__ import annotations

import numpy as np

from tests.injected_faults import (
    POOL,
    Course,
    Draw,
    Fault,
    course,
    during,
    gpu,
    healthy,
    start_of,
)
from tools.monitoring.catalogue import GROUPS
from tools.monitoring.model import duration_seconds
from tools.monitoring.slo import AVAILABILITY, BURN_WINDOWS, OBJECTIVES, BurnWindow, Objective

MINUTE = 60
_RUNG = 'meltguard_controller_rung{region="eu"}'
# Half a day of good traffic, then the slowest outage that must be called.
_HOURS = {"1h": 15.0, "6h": 19.0, "1d": 32.0, "3d": 44.0}
_FILES = tuple(dict.fromkeys(group.file for group in GROUPS))


def _gauge(name: str, usual: float, low: float, high: float, *, noise: float = 0.0, least: float = 900.0) -> Draw:
    """Return events in which a gauge goes to a value between two bounds for ``least`` seconds to three times that."""

    def draw(rng: np.random.Generator, times: np.ndarray) -> Course:
        start, length = start_of(rng), float(rng.uniform(least, 3.0 * least))
        values = np.where(during(times, start, length), float(rng.uniform(low, high)), usual)
        return course({**healthy(times), name: values + rng.normal(0.0, noise, len(times))}, start, rng)

    return draw


def _rung(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    inside = during(times, start, float(rng.uniform(120.0, 1800.0)))
    return course({**healthy(times), _RUNG: np.where(inside, float(rng.integers(3, 7)), 0.0)}, start, rng)


def _exhausted(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    inside = during(times, start, float(rng.uniform(900.0, 2400.0)))
    series = {**healthy(times), _RUNG: np.where(inside, 6.0, 2.0)}
    for node in ("n1", "n2", "n3"):
        margin = np.where(inside, rng.uniform(-2.0, 3.5), 12.0) + rng.normal(0.0, 0.7, len(times))
        series[gpu("meltguard_gpu_thermal_margin_celsius", node)] = np.round(margin)
    return course(series, start, rng)


def _breaker(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    opened = np.where(times >= start, 1.0, 0.0)
    return course({**healthy(times), 'meltguard_controller_breaker_open{region="eu"}': opened}, start, rng)


def _flapping(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    period = float(rng.uniform(180.0, 1000.0))
    up = (times >= start) & ((times - start) % period < period / 2.0)
    return course({**healthy(times), _RUNG: np.where(up, 4.0, 2.0)}, start, rng)


def _failing(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    share = float(rng.uniform(0.7, 1.0))
    tries = (rng.random(len(times)) < 0.4).astype(float)
    bad = tries * (times >= start) * (rng.random(len(times)) < share)
    result = str(rng.choice(["rejected", "time_out", "conflict", "error"]))
    name = 'meltguard_controller_actions_total{kind="nodes",result="%s"}'
    series = {name % "done": 50.0 + np.cumsum(tries - bad), name % result: np.cumsum(bad)}
    return course({**healthy(times), **series}, start, rng)


def _leaders(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    inside = during(times, start, float(rng.uniform(300.0, 1800.0)))
    others = 1.0 if rng.random() < 0.5 else 0.0
    name = 'meltguard_controller_leader{job="meltguard-operator",instance="%s"}'
    series = {name % "a": np.where(inside, others, 1.0), name % "b": np.where(inside, others, 0.0)}
    return course(series, start, rng)


def _stalled(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    last = np.where(times < start, times - rng.uniform(0.0, 10.0, len(times)), start)
    return course({**healthy(times), "meltguard_controller_last_pass_timestamp_seconds": last}, start, rng)


def _input(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    inside = during(times, start, float(rng.uniform(900.0, 2400.0)))
    age = np.where(inside, times - start, 0.0) + rng.uniform(1.0, 15.0, len(times))
    name = f'meltguard_controller_input_age_seconds{{input="{rng.choice(["thermal", "demand", "nodes"])}"}}'
    return course({**healthy(times), name: age}, start, rng)


def _pool(times: np.ndarray, desired: np.ndarray, serving: np.ndarray) -> dict[str, np.ndarray]:
    ones = np.ones(len(times))
    return {
        **healthy(times),
        f'meltguard_pool_nodes{{{POOL},state="desired"}}': desired,
        f'meltguard_pool_nodes{{{POOL},state="serving"}}': serving,
        f'meltguard_pool_nodes_limit{{{POOL},bound="max"}}': 10.0 * ones,
        f"meltguard_pool_gpus_per_node{{{POOL}}}": 8.0 * ones,
    }


def _at_max(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    inside = during(times, start, float(rng.uniform(2400.0, 4000.0)))
    nodes = np.where(inside, 10.0, 8.0)
    wait = np.where(inside, rng.uniform(15.0, 60.0), 2.0) + rng.normal(0.0, 2.0, len(times))
    wait_name = f'meltguard_inference_estimated_wait_seconds{{{POOL},instance="p1"}}'
    return course({**_pool(times, nodes, nodes), wait_name: wait}, start, rng)


def _stuck(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    wanted = np.where(times >= start, 4.0 + float(rng.integers(1, 5)), 4.0)
    return course(_pool(times, wanted, 4.0 + 0.0 * wanted), start, rng)


def _surge(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    growth = np.clip((times - start) / float(rng.uniform(300.0, 1800.0)), 0.0, 1.0)
    nodes = np.full(len(times), 8.0)
    series = _pool(times, nodes, nodes)
    for tier, part in (("free", 0.8), ("paid", 0.2)):
        gpus = part * (40.0 + growth * rng.uniform(60.0, 300.0) + rng.normal(0.0, 1.0, len(times)))
        name = f'meltguard_forecast_gpus_needed{{region="eu",tier="{tier}",q="0.9",horizon="3600"}}'
        series[name] = np.repeat(gpus[::4], 4)[: len(times)]
    total = sum(values for name, values in series.items() if "gpus_needed" in name)
    begins = float(times[int(np.argmax(total > 80.0))])
    return course(series, begins, rng)


def _forecast_stale(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    last = np.where(times < start, np.floor(times / 60.0) * 60.0, np.floor(start / 60.0) * 60.0)
    return course({**healthy(times), "meltguard_forecast_last_success_timestamp_seconds": last}, start, rng)


def _lagging(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    inside = during(times, start, float(rng.uniform(300.0, 1800.0)))
    newest = 5.0 + np.cumsum((times >= start) & (rng.random(len(times)) < 0.05)) + (times >= start)
    late = np.where(inside, 5.0, newest)
    name = f'meltguard_flags_revision{{{POOL},instance="%s"}}'
    return course({name % "a": newest, name % "b": late}, start, rng)


def _quota(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    inside = during(times, start, float(rng.uniform(2700.0, 4000.0)))
    share = np.where(inside, rng.uniform(0.3, 0.9), 0.01)
    offered = rng.poisson(10.0 * 15.0, len(times)).astype(float)
    name = 'meltguard_inference_requests_received_total{region="eu",tier="free",attempt="first",outcome="%s"}'
    series = {name % "quota": np.cumsum(offered * share), name % "admitted": np.cumsum(offered * (1.0 - share))}
    return course(series, start, rng)


def _delivery(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    gone = during(times, start, float(rng.uniform(900.0, 2400.0)))
    errors = np.cumsum(gone * (rng.random(len(times)) < 0.5))
    return course({'prometheus_notifications_errors_total{alertmanager="http://am"}': errors.astype(float)}, start, rng)


def _receiver(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    gone = during(times, start, float(rng.uniform(1200.0, 2400.0)))
    requests = rng.poisson(2.0, len(times)).astype(float)
    failed = rng.binomial(requests.astype(int), np.where(gone, rng.uniform(0.2, 1.0), 0.0)).astype(float)
    name = 'alertmanager_notification_requests%s_total{instance="am",integration="slack"}'
    return course({name % "": np.cumsum(requests), name % "_failed": np.cumsum(failed)}, start, rng)


def _burn(objective: Objective, window: BurnWindow) -> Draw:
    """Return outages whose error ratio is 1.5 to 6 times what the window stands for, 1 at most."""

    def draw(rng: np.random.Generator, times: np.ndarray) -> Course:
        # Half a day of good traffic first: a service that was born an hour ago burns its budget faster.
        start = 12 * 3600.0 + start_of(rng)
        ratio = min(1.0, window.factor * objective.budget * float(rng.uniform(1.5, 6.0)))
        offered = rng.poisson(10.0 * MINUTE, len(times))
        bad = rng.binomial(offered, np.where(times >= start, ratio, 0.001)).astype(float)
        if objective is AVAILABILITY:
            name = 'meltguard_inference_requests_received_total{region="eu",tier="paid",attempt="first",outcome="%s"}'
            series = {name % "admitted": np.cumsum(offered - bad), name % "contended": np.cumsum(bad)}
        else:
            name = 'meltguard_inference_time_to_first_token_seconds_%s{region="eu",instance="p1"%s}'
            fast = np.cumsum(offered - bad)
            series = {name % ("count", ""): np.cumsum(offered).astype(float), name % ("bucket", ',le="2.5"'): fast}
        return course(series, start, rng)

    return draw


def _budget_faults() -> tuple[Fault, ...]:
    return tuple(
        Fault(
            alert=objective.alert,
            labels={"severity": str(window.severity), "long": window.long},
            says=f"bad events at 1.5 to 6 times the share that {window.long} stands for, {window.factor:g} x "
            f"{objective.budget:g}",
            # The longest that the arithmetic allows: the slowest outage fills two thirds of the long window.
            within_seconds=duration_seconds(window.long) * 2.0 / 3.0 + duration_seconds(window.hold) + 600.0,
            draw=_burn(objective, window),
            hours=_HOURS[window.long],
            step_seconds=MINUTE,
            files=("objectives", "inference"),
        )
        for objective in OBJECTIVES
        for window in BURN_WINDOWS
    )


def _rules_missing(rng: np.random.Generator, times: np.ndarray) -> Course:
    return course(healthy(times), 0.0, rng)


CONTROLLER_FAULTS: tuple[Fault, ...] = (
    Fault(alert="MitigationActive", says="a rung of 3 to 6 for 2 to 30 minutes", within_seconds=60, draw=_rung),
    Fault(
        alert="MitigationLadderExhausted",
        says="rung 6, and three nodes at -2 to 3.5 °C of margin, 15 to 40 minutes",
        within_seconds=480,
        draw=_exhausted,
    ),
    Fault(
        alert="MitigationBreakerOpen",
        says="a region's breaker opens",
        within_seconds=60,
        draw=_breaker,
    ),
    Fault(
        alert="MitigationFlapping",
        says="rung 4 comes and goes every 3 to 17 minutes",
        within_seconds=3600,
        draw=_flapping,
    ),
    Fault(
        alert="ActuationFailing",
        says="70 to 100 % of a kind's actions fail, one or two tries a minute",
        within_seconds=1500,
        draw=_failing,
    ),
    Fault(alert="ControllerNoLeader", says="no leader, or two, for 5 to 30 minutes", within_seconds=180, draw=_leaders),
    Fault(alert="ControllerReconcileStalled", says="no pass ends any more", within_seconds=300, draw=_stalled),
    Fault(
        alert="ControllerInputStale",
        says="an input is not renewed for 15 to 40 minutes",
        within_seconds=900,
        draw=_input,
    ),
    Fault(
        alert="NodePoolAtMax",
        says="all nodes are wanted and requests wait 15 to 60 s, 40 to 67 minutes",
        within_seconds=1800,
        draw=_at_max,
    ),
    Fault(
        alert="NodePoolProvisioningStuck",
        says="one to four nodes that are wanted do not come",
        within_seconds=1800,
        draw=_stuck,
    ),
)
SERVICE_FAULTS: tuple[Fault, ...] = (
    Fault(
        alert="DemandSurgeExceedsCapacity",
        says="the need rises within 5 to 30 minutes above the 80 GPUs that the pool may have",
        within_seconds=300,
        draw=_surge,
    ),
    Fault(alert="ForecastStale", says="no forecast succeeds any more", within_seconds=900, draw=_forecast_stale),
    Fault(
        alert="ForecastUncalibrated",
        says="intervals of 90 % hold 40 to 72 % of what comes, 2 to 6 hours",
        within_seconds=7200,
        draw=_gauge(
            'meltguard_forecast_interval_coverage_ratio{region="eu",tier="free"}',
            0.9,
            0.4,
            0.72,
            noise=0.01,
            least=7200.0,
        ),
        hours=4.0,
    ),
    Fault(
        alert="InferenceQueueSaturated",
        says="a wait of 35 to 90 s, give or take 3 s, 15 to 45 minutes",
        within_seconds=720,
        draw=_gauge(f'meltguard_inference_estimated_wait_seconds{{{POOL},instance="p1"}}', 2.0, 35.0, 90.0, noise=3.0),
    ),
    *_budget_faults(),
    Fault(
        alert="InferenceQuotaRejectionsHigh",
        says="30 to 90 % of a tier's first attempts are refused by quota, 45 to 67 minutes",
        within_seconds=2100,
        draw=_quota,
    ),
    Fault(
        alert="InferenceFlagsLagging",
        says="a pod stays with its flags while newer ones come, 5 to 30 minutes",
        within_seconds=300,
        draw=_lagging,
    ),
    Fault(
        alert="AlertDeliveryFailing",
        labels={"scope": "alertmanager"},
        says="an Alertmanager takes nothing for 15 to 40 minutes",
        within_seconds=480,
        draw=_delivery,
    ),
    Fault(
        alert="AlertDeliveryFailing",
        labels={"scope": "receiver"},
        says="20 to 100 % of the requests to a receiver fail, 20 to 40 minutes",
        within_seconds=600,
        draw=_receiver,
    ),
)
RULES_FAULTS: tuple[Fault, ...] = tuple(
    Fault(
        alert="MonitoringRulesMissing",
        labels={"rules": file},
        says=f"the rule file {file} is not loaded",
        within_seconds=360,
        draw=_rules_missing,
        hours=0.5,
        alone=True,
        files=tuple(name for name in _FILES if name != file),
    )
    for file in _FILES
    if file != "meta"
)
