"""Every number at which an alert fires. The rules, the dashboards' lines and the runbooks' tables read it here."""

from __future__ import annotations

from tools.monitoring.model import Threshold

MARGIN_LOW = Threshold(
    name="low margin",
    value=5,
    unit="°C",
    why="one step of load moves a die by this much within seconds; below it nothing is in reserve",
)
SLOWDOWN_SOON = Threshold(
    name="slowdown soon",
    value=300,
    unit="s",
    why="shorter than any node takes to arrive, longer than flags take to act",
)
HEAT_SHARE = Threshold(
    name="share of time slowed down by heat",
    value=0.2,
    unit="of 5 minutes",
    why="one minute in five: users notice, a single excursion does not reach it",
)
BRAKE_SHARE = Threshold(
    name="share of time under the power brake",
    value=0.5,
    unit="of 5 minutes",
    why="the brake is a facility signal and stays on; tests of power supplies are shorter",
)
XID_MEMORY = Threshold(
    name="time that a hardware XID counts", value=1800, unit="s", why="half an hour to see the ticket's neighbours"
)
COMMON_CAUSE_NODES = Threshold(
    name="nodes for a common cause", value=2, unit="nodes", why="one node is an outlier, as on the ladder"
)
COMMON_CAUSE_SHARE = Threshold(
    name="share of a pool's nodes for a common cause",
    value=0.02,
    unit="of the pool",
    why="large fleets lose single nodes every day, and nobody must get up for that",
)
SNAPSHOT_AGE = Threshold(
    name="age of the exporter's snapshot", value=30, unit="s", why="thirty missed readings; the worst recovery took 3 s"
)
BLIND_SHARE = Threshold(
    name="share of a pool's exporters that answer", value=0.5, unit="", why="below it the pool's quantiles mean little"
)
DEMAND_QUANTILE = Threshold(
    name="quantile of the demand forecast", value=0.9, unit="", why="one forecast in ten may be exceeded"
)
FORECAST_AGE = Threshold(name="age of the demand forecast", value=600, unit="s", why="ten missed forecasts")
COVERAGE_LOW = Threshold(
    name="observed coverage of the 90 % interval",
    value=0.75,
    unit="",
    why="far outside what 100 scored steps of a calibrated forecast show (0.82 with 99 % probability)",
)
RUNG_USERS_NOTICE = Threshold(
    name="lowest rung that touches work", value=3, unit="", why="rungs 1 and 2 hold and buy nodes; nobody notices"
)
RUNG_LAST_AUTOMATIC = Threshold(
    name="last rung without a person", value=6, unit="", why="rung 7 needs an approval; a shorter ladder ends earlier"
)
RUNG_BUYS_TIME = Threshold(
    name="lowest rung that answers heat", value=2, unit="", why="rung 1 only holds back scale-in"
)
FLAPS_PER_HOUR = Threshold(
    name="crossings of one rung in an hour",
    value=4,
    unit="",
    why="two full cycles: a surge that goes up and down once crosses every rung twice",
)
ACTIONS_FAILED = Threshold(
    name="share of actions that fail", value=0.5, unit="", why="retries hide less; half of them is an outage"
)
ACTIONS_MIN = Threshold(name="actions before a share counts", value=3, unit="", why="one failed action is a retry")
PASS_AGE = Threshold(name="age of the last pass", value=120, unit="s", why="twelve missed passes of 10 s")
INPUT_AGE = Threshold(
    name="age of a controller input", value=180, unit="s", why="three forecasts of 60 s; the controller itself holds"
)
WAIT_NOTICED = Threshold(
    name="wait that counts as demand", value=10, unit="s", why="below it the queue is only the batch filling up"
)
WAIT_LONG = Threshold(
    name="estimated wait", value=30, unit="s", why="a third of the patience of 90 s after which users give up"
)
QUOTA_SHARE = Threshold(
    name="share of requests refused by quota", value=0.2, unit="", why="one in five: support will be asked about it"
)
TRAFFIC_FLOOR = Threshold(
    name="traffic below which no budget pages", value=0.1, unit="requests/s", why="30 requests in 5 minutes"
)
DELIVERY_ERRORS = Threshold(
    name="share of notifications that fail", value=0.05, unit="", why="a lost retry is no outage, one in twenty is"
)
DELIVERY_FAILURES = Threshold(
    name="batches of alerts that Alertmanager did not take in 5 minutes",
    value=2,
    unit="",
    why="a count: Prometheus 2 counts failed batches, but sent alerts, so their ratio means nothing",
)

ALL: tuple[Threshold, ...] = tuple(value for value in globals().copy().values() if isinstance(value, Threshold))
"""Every threshold, in order of definition."""
