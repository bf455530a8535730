"""What happens in a healthy fleet all the time and is no reason to call anybody, laid over a simulated run.

The simulator gives loads, heat, forecasts and the planner's answers; nothing in it ever restarts, is lost or is late.
This adds that: roll-outs, failovers, lost scrapes, harmless XIDs, tests of power supplies, batches that fill up. The
rates stand in ``DISTURBANCES``; they are assumptions, each taken from the upper end of what a calm fleet shows.
"""

from __future__ import annotations

import re

import numpy as np

from tests.replayed_rules import Series, in_cluster
from tests.simulated_telemetry import SAMPLE_SECONDS, Telemetry

STEP_SECONDS = 30
_NODE = re.compile(r'region="(\w[\w-]*)",pool="([\w-]+)",node="([\w-]+)"')

DISTURBANCES: tuple[tuple[str, str], ...] = (
    (
        "exporter",
        "one scrape of a thousand is lost; each exporter is rolled out once a week, 20 to 60 s without answers",
    ),
    ("exporter", "its collector hangs once a day: readings up to 25 s old"),
    ("GPU", "each reports 2 application XIDs a week and 40 corrected memory errors, some with old uncorrected ones"),
    ("GPU", "the software power cap holds clocks for a fifth of the time; once a week a power supply is tested, 90 s"),
    ("GPU", "each is slowed for heat by itself once a week for 5 to 25 s; each falls within 5 °C once a week for 30 s"),
    ("GPU", "once in three weeks a GPU is reset: lost for 30 to 90 s, then back"),
    ("operator", "a failover a day: 5 to 40 s without a leader; one scrape of a thousand is lost"),
    ("operator", "an action in 50 meets a conflict; once a week three in a row time out"),
    ("operator", "inputs are up to 15 s old; once a day Prometheus is slow and one is 60 to 150 s old"),
    ("operator", "a forecast a minute; once a week none for 2 to 8 minutes"),
    ("pods", "two a region, rolled out twice a week (counters begin at 0); flags change 6 times a day, 0 to 60 s late"),
    ("pods", "three bursts a day: estimated waits of 20 to 60 s for 30 to 180 s; 3 in 1,000 requests start late"),
    ("pods", "1 in 1,000 requests of the protected tier meets a full queue; quotas refuse 5 % of the free tier"),
    ("alerting", "an Alertmanager restarts once a week, one or two batches fail; 5 in 1,000 notifications are refused"),
    ("alerting", "Prometheus restarts once a week and scrapes nothing for 30 to 60 s"),
)
"""Who, and what; the page on noise shows them."""


class OrdinaryLife:
    """Adds disturbances to one fleet.

    Args:
        telemetry: A simulated run.
        seed: Of the disturbances.
        step_seconds: Distance of the samples, a divisor of ``SAMPLE_SECONDS``.
    """

    def __init__(self, telemetry: Telemetry, *, seed: int, step_seconds: int = STEP_SECONDS) -> None:
        """Take over the run's series."""
        self.rng = np.random.default_rng(seed)
        self.step_seconds = step_seconds
        repeats = SAMPLE_SECONDS // step_seconds
        self.series: Series = {}
        for name, values in telemetry.series.items():
            padded = [*values, *([None] * (telemetry.length - len(values)))]
            self.series[name] = np.repeat(np.array(padded, dtype=float), repeats)
        self.num = telemetry.length * repeats
        self.times = np.arange(self.num) * float(self.step_seconds)
        self.weeks = self.times[-1] / (7 * 86400.0)

    def fleet(self, cluster: str) -> Series:
        """Return the fleet's series with everything that is ordinary, under a name of its own."""
        self._gpus()
        self._exporters()
        self._operator()
        self._pods()
        self._alerting()
        down = self._events(1.0, 30.0, 60.0)
        return {in_cluster(name, cluster): np.where(down, np.nan, values) for name, values in self.series.items()}

    def _events(self, per_week: float, least: float, most: float) -> np.ndarray:
        """Return where events of a length between two bounds lie; at least one sample each."""
        inside = np.zeros(self.num, dtype=bool)
        for _ in range(self.rng.poisson(per_week * self.weeks)):
            begin = int(self.rng.integers(0, self.num))
            inside[begin : begin + max(1, round(float(self.rng.uniform(least, most)) / self.step_seconds))] = True
        return inside

    def _rising(self, per_week: float) -> np.ndarray:
        """Return a counter of single events."""
        steps_a_week = 7 * 86400.0 / self.step_seconds
        counter: np.ndarray = np.cumsum(self.rng.poisson(per_week / steps_a_week, self.num)).astype(float)
        return counter

    def _gpus(self) -> None:
        for name in [name for name in self.series if name.startswith("meltguard_gpu_up")]:
            place = name.partition("{")[2].partition(",reason")[0]
            here = self.series[name] == 1.0
            reset = self._events(1.0 / 3.0, 30.0, 90.0) & here
            self.series[name] = np.where(here & ~reset, 1.0, np.nan)
            self.series[f'meltguard_gpu_up{{{place},reason="lost"}}'] = np.where(reset, 0.0, np.nan)
            for reason, seconds in (
                ("sw_power_cap", 0.2 * self.step_seconds * np.ones(self.num)),
                ("hw_power_brake", self._events(1.0, 60.0, 90.0) * float(self.step_seconds)),
                ("hw_thermal", self._events(1.0, 30.0, 30.0) * self.rng.uniform(5.0, 25.0)),
            ):
                counter = f'meltguard_gpu_throttled_seconds_total{{{place},reason="{reason}"}}'
                self._put(counter, np.cumsum(seconds), here)
            margin = f"meltguard_gpu_thermal_margin_celsius{{{place}}}"
            self.series[margin] = np.where(self._events(1.0, 30.0, 30.0), 3.0, self.series[margin])
            self._put(f'meltguard_gpu_ecc_errors_total{{{place},kind="corrected"}}', self._rising(40.0), here)
            old = float(self.rng.integers(0, 3))
            self._put(f'meltguard_gpu_ecc_errors_total{{{place},kind="uncorrected"}}', old + 0.0 * self.times, here)
            self._put(f"meltguard_gpu_row_remap_failed{{{place}}}", 0.0 * self.times, here)
            counted = self._rising(2.0)
            changes = np.flatnonzero(np.diff(counted, prepend=0.0) > 0.0)
            stamp = np.full(self.num, np.nan)
            for index in changes.tolist():
                stamp[index:] = self.times[index]
            self._put(f'meltguard_gpu_xid_last_timestamp_seconds{{{place},class="application",xid="31"}}', stamp, here)

    def _put(self, name: str, values: np.ndarray, here: np.ndarray) -> None:
        self.series[name] = np.where(here, values, np.nan)

    def _exporters(self) -> None:
        """Replace the targets by one a node, which takes the node's series with it when it does not answer."""
        self.series = {name: values for name, values in self.series.items() if not name.startswith("up{")}
        nodes: dict[str, np.ndarray] = {}
        for name, values in self.series.items():
            found = _NODE.search(name)
            if name.startswith("meltguard_gpu_up") and found:
                nodes[found[0]] = nodes.get(found[0], np.zeros(self.num, dtype=bool)) | ~np.isnan(values)
        for place, here in nodes.items():
            down = self._events(1.0, 30.0, 60.0) | (self.rng.random(self.num) < 0.001)
            for name in [name for name in self.series if place in name]:
                self.series[name] = np.where(down, np.nan, self.series[name])
            target = f'{{job="meltguard-exporter",{place},instance="{_NODE.findall(place)[0][2]}:9400"}}'
            self._put(f"up{target}", np.where(down, 0.0, 1.0), here)
            age = self.rng.uniform(0.2, 1.2, self.num) + self._events(7.0, 10.0, 25.0) * self.rng.uniform(5.0, 24.0)
            self._put(f"meltguard_exporter_snapshot_age_seconds{target}", np.where(down, np.nan, age), here)

    def _operator(self) -> None:
        over = self._events(7.0, 5.0, 40.0)
        terms = np.cumsum(np.diff(over.astype(int), prepend=0) > 0) % 2
        for number, name in enumerate(("a", "b")):
            leads = np.where(over, 0.0, (terms == number).astype(float))
            self.series[f'meltguard_controller_leader{{job="meltguard-operator",instance="{name}"}}'] = leads
        said = [name for name in self.series if name.startswith(_BY_REGION)]
        for name in [*said, *(name for name in self.series if name.startswith("meltguard_pool_gpus"))]:
            values = self.series.pop(name)
            # The former leader goes on showing what it saw last; here it shows nothing new either.
            for number, instance in enumerate(("a", "b")):
                shown = np.where(terms == number, values, np.nan)
                self.series[f'{name[:-1]},instance="{instance}"}}'] = _held(shown)
        self.series = {name: values for name, values in self.series.items() if name != _OLD_LEADER}
        lost = self.rng.random(self.num) < 0.001
        late = self._events(7.0, 60.0, 150.0)
        self.series[_LAST_PASS] = _held(np.where(over, np.nan, self.times - self.rng.uniform(0.0, 10.0, self.num)))
        for kind in ("thermal", "demand", "nodes"):
            age = self.rng.uniform(1.0, 15.0, self.num) + late * self.rng.uniform(45.0, 135.0)
            name = f'meltguard_controller_input_age_seconds{{{_OPERATOR},input="{kind}",instance="%s"}}'
            for number, instance in enumerate(("a", "b")):
                self.series[name % instance] = _held(np.where(terms == number, age, np.nan))
        silent = self._events(1.0, 120.0, 480.0)
        self.series[_LAST_FORECAST] = _held(np.where(silent, np.nan, np.floor(self.times / 60.0) * 60.0))
        done, timed_out = self._rising(20000.0), np.cumsum(np.diff(self._rising(1.0), prepend=0.0) * 3.0)
        self.series['meltguard_controller_actions_total{kind="nodes",result="done"}'] = done
        self.series['meltguard_controller_actions_total{kind="nodes",result="conflict"}'] = self._rising(400.0)
        self.series['meltguard_controller_actions_total{kind="nodes",result="time_out"}'] = timed_out
        for name in [name for name in self.series if name.startswith(("meltguard_controller", "meltguard_pool"))]:
            self.series[name] = np.where(lost, np.nan, self.series[name])

    def _pods(self) -> None:
        """Share each region's pod between two, with roll-outs, bursts and flags that come late."""
        mine = [name for name in self.series if name.startswith(("meltguard_inference", "meltguard_flags"))]
        changes = self._rising(42.0)
        for number in range(2):
            restarts = np.cumsum(self._events(2.0, 30.0, 30.0))
            lost = self.rng.random(self.num) < 0.001
            late = np.where(self._events(42.0, 30.0, 60.0), -1.0, 0.0) * (np.diff(changes, prepend=0.0) > 0.0)
            burst = self._events(21.0, 30.0, 180.0) * self.rng.uniform(20.0, 60.0)
            for name in mine:
                values = self.series[name]
                if "estimated_wait" in name:
                    values = values + burst
                elif "flags_revision" in name:
                    values = 1.0 + changes + late
                elif "received_total" in name or "_count" in name or "_bucket" in name:
                    values = _since_restart(self._soiled(name) / 2.0, restarts)
                self.series[_of_pod(name, number)] = np.where(lost, np.nan, values)
        for name in mine:
            del self.series[name]

    def _soiled(self, name: str) -> np.ndarray:
        """Return a counter with the small share of bad events that every service has."""
        values = self.series[name]
        if "_bucket" in name:
            return values * 0.997
        if "received_total" in name:
            everything = sum(self.series[name.replace(_outcome(name), word)] for word in _OUTCOMES)
            share = {"contended": 0.001, "quota": 0.05 if 'tier="free' in name else 0.0}.get(_outcome(name), 0.0)
            return np.asarray(values + share * everything)
        return values

    def _alerting(self) -> None:
        failed = self._rising(1.0) * 2.0
        self.series['prometheus_notifications_errors_total{alertmanager="http://am"}'] = failed
        sent = self._rising(3000.0)
        name = 'alertmanager_notification_requests%s_total{instance="am",integration="slack"}'
        self.series[name % ""] = sent
        refused = np.cumsum(np.diff(sent, prepend=0.0) * (self.rng.random(self.num) < 0.005))
        self.series[name % "_failed"] = refused


_BY_REGION = ("meltguard_controller_rung", "meltguard_controller_breaker_open", "meltguard_pool_nodes")
_OPERATOR = 'job="meltguard-operator"'
_OLD_LEADER = f"meltguard_controller_leader{{{_OPERATOR}}}"
_LAST_PASS = "meltguard_controller_last_pass_timestamp_seconds"
_LAST_FORECAST = "meltguard_forecast_last_success_timestamp_seconds"
_OUTCOMES = ("admitted", "quota", "contended")


def _outcome(name: str) -> str:
    return name.partition('outcome="')[2].partition('"')[0]


def _of_pod(name: str, number: int) -> str:
    bare = re.sub(r',instance="[^"]*"', "", name)
    return f'{bare[:-1]},instance="pod-{number}"}}'


def _held(values: np.ndarray) -> np.ndarray:
    """Return values with gaps filled by what stood before them; before the first one nothing."""
    index = np.where(np.isnan(values), 0, np.arange(len(values)))
    held: np.ndarray = values[np.maximum.accumulate(index)]
    return held


def _since_restart(counter: np.ndarray, restarts: np.ndarray) -> np.ndarray:
    """Return a counter that begins at 0 with every restart."""
    starts = np.flatnonzero(np.diff(restarts, prepend=0) > 0)
    base = np.zeros(len(counter))
    for index in starts.tolist():
        base[index:] = counter[index]
    since: np.ndarray = counter - base
    return since
