"""Service level objectives and the burn rates that page for them. Pure.

A window's error ratio over the budget (1 - objective) is its burn rate. An alert fires when a long and a short window
both burn faster than a factor. The factors spend a stated share of a 30-day budget within the long window:
14.4 x 1 h = 2 %, 6 x 6 h = 5 %, 3 x 24 h = 10 %, 1 x 72 h = 10 % (Google, The Site Reliability Workbook, chapter 5).

The error ratio is at most 1, so factor x budget must stay below 1 or the alert can never fire. A total outage is seen
after long window x factor x budget: at 99 % after 1 h x 14.4 x 0.01 = 8.6 minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.monitoring.model import Alert, Board, Component, Recording, Severity, duration_seconds
from tools.monitoring.recordings import RUNG
from tools.monitoring.thresholds import RUNG_USERS_NOTICE, TRAFFIC_FLOOR


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnWindow:
    """One pair of windows.

    Attributes:
        long: The window that says how much of the budget is gone.
        short: The window that says whether it still burns.
        factor: Burn rate at which it fires.
        severity: Page or ticket.
        hold: How long both must hold.
    """

    long: str
    short: str
    factor: float
    severity: Severity
    hold: str


BURN_WINDOWS: tuple[BurnWindow, ...] = (
    BurnWindow(long="1h", short="5m", factor=14.4, severity=Severity.CRITICAL, hold="2m"),
    BurnWindow(long="6h", short="30m", factor=6.0, severity=Severity.CRITICAL, hold="15m"),
    BurnWindow(long="1d", short="2h", factor=3.0, severity=Severity.WARNING, hold="1h"),
    BurnWindow(long="3d", short="6h", factor=1.0, severity=Severity.WARNING, hold="3h"),
)
WINDOWS: tuple[str, ...] = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One promise to users.

    Attributes:
        alert: Name of its alert.
        series: Middle part of its recorded ratio, ``region:SERIES:ratio_rate5m``.
        objective: Share of good events that is promised, 0..1.
        labels: Labels of the ratio, for ``by`` and ``on``.
        bad: PromQL of bad events per second, with ``{window}`` in place of the range.
        total: PromQL of all events per second, likewise.
        excused: PromQL of the regions in which no page comes, because the controller works on the cause; empty: none.
        promise: The promise in words.
        of_what: What the labels name, for the summary.
    """

    alert: str
    series: str
    objective: float
    labels: str
    bad: str
    total: str
    excused: str = ""
    promise: str
    of_what: str

    def __post_init__(self) -> None:
        """Refuse an objective whose fastest alert could never fire.

        Raises:
            ValueError: If the largest factor times the budget reaches 1.
        """
        worst = max(window.factor for window in BURN_WINDOWS) * self.budget
        if not 0.0 < self.objective < 1.0 or worst >= 1.0:
            raise ValueError(
                f"{self.alert}: at an objective of {self.objective:g} a burn rate of 14.4 is an error ratio of "
                f"{worst:.3g}, which cannot be exceeded; promise more than 93.1 % (with a looser bound if need be)"
            )

    @property
    def budget(self) -> float:
        """Share of events that may be bad."""
        return round(1.0 - self.objective, 9)

    def ratio(self, window: str) -> str:
        """Return the name of the recorded error ratio over a window."""
        return f"region:{self.series}:ratio_rate{window}"

    @property
    def rate(self) -> str:
        """Name of the recorded event rate over five minutes."""
        return f"region:{self.series}_events:rate5m"


TIME_TO_FIRST_TOKEN = Objective(
    alert="InferenceTTFTBudgetBurn",
    series="meltguard_inference_first_token_slow",
    objective=0.99,
    labels="cluster, region",
    bad=(
        "(sum by (cluster, region) (rate(meltguard_inference_time_to_first_token_seconds_count[{window}]))"
        " - sum by (cluster, region)"
        ' (rate(meltguard_inference_time_to_first_token_seconds_bucket{{le="2.5"}}[{window}])))'
    ),
    total="sum by (cluster, region) (rate(meltguard_inference_time_to_first_token_seconds_count[{window}]))",
    # While limits are in force the wait has a cause that is known and worked on. What a person must do then has pages
    # of its own: the ladder is exhausted, actions fail, the controller stands still. Tickets come all the same.
    excused=f"{RUNG} >= {RUNG_USERS_NOTICE}",
    promise="99 % of admitted requests get their first token within 2.5 s",
    of_what="region {{ $labels.region }}",
)
AVAILABILITY = Objective(
    alert="InferenceAvailabilityBudgetBurn",
    series="meltguard_inference_refused",
    objective=0.99,
    labels="cluster, region, tier",
    bad=(
        "(sum by (cluster, region, tier) (rate(meltguard_inference_requests_received_total"
        '{{tier="paid", attempt="first", outcome=~"contended|shed|region_disabled"}}[{window}]))'
        " or 0 * sum by (cluster, region, tier)"
        ' (rate(meltguard_inference_requests_received_total{{tier="paid", attempt="first"}}[{window}])))'
    ),
    total=(
        "sum by (cluster, region, tier) (rate(meltguard_inference_requests_received_total"
        '{{tier="paid", attempt="first", outcome!~"invalid|quota"}}[{window}]))'
    ),
    promise="99 % of valid first attempts of the protected tier within its quota are admitted",
    of_what="tier {{ $labels.tier }} in region {{ $labels.region }}",
)
OBJECTIVES: tuple[Objective, ...] = (TIME_TO_FIRST_TOKEN, AVAILABILITY)


def detection_seconds(objective: Objective, window: BurnWindow, *, error_ratio: float) -> float | None:
    """Return how long an outage that begins now takes to fire, hold included; None if it never does.

    Args:
        objective: The promise.
        window: The pair of windows.
        error_ratio: Share of bad events during the outage, 0..1.

    Returns:
        Seconds: long window x factor x budget / error ratio, plus the hold.
    """
    limit = window.factor * objective.budget
    if error_ratio <= limit:
        return None
    return duration_seconds(window.long) * limit / error_ratio + duration_seconds(window.hold)


def slo_recordings() -> tuple[Recording, ...]:
    """Return the error ratios of every objective over every window, and the event rates."""
    rules: list[Recording] = []
    for objective in OBJECTIVES:
        rules.append(Recording(record=objective.rate, expr=objective.total.format(window="5m")))
        for window in WINDOWS:
            bad, total = objective.bad.format(window=window), objective.total.format(window=window)
            rules.append(Recording(record=objective.ratio(window), expr=f"{bad}\n  / ({total} > 0)"))
    return tuple(rules)


def slo_alerts(controller: str) -> tuple[Alert, ...]:
    """Return the burn-rate alerts.

    Args:
        controller: The annotation that says what the controller did in a region.

    Returns:
        Two pages and two tickets per objective.
    """
    return tuple(_burn(objective, window, controller) for objective in OBJECTIVES for window in BURN_WINDOWS)


def _burn(objective: Objective, window: BurnWindow, controller: str) -> Alert:
    limit = f"{window.factor * objective.budget:g}"
    expr = (
        f"{objective.ratio(window.long)} > {limit}\n"
        f"and on ({objective.labels}) {objective.ratio(window.short)} > {limit}"
    )
    if window.severity is Severity.CRITICAL:
        expr += f"\nand on ({objective.labels}) {objective.rate} > {TRAFFIC_FLOOR}"
        if objective.excused:
            expr += f"\nunless on (cluster, region) {objective.excused}"
    promise = objective.promise.replace("%", "percent")
    return Alert(
        name=objective.alert,
        severity=window.severity,
        component=Component.INFERENCE,
        board=Board.INFERENCE,
        expr=expr,
        hold=window.hold,
        labels={"long": window.long, "short": window.short},
        summary=f"The error budget of {objective.of_what} burns {window.factor:g} times too fast",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of the events of {window.long} broke the promise that {promise}."
        ),
        controller=controller,
        why=f"both windows above {limit}; a total outage is seen after {window.factor * objective.budget:g} of the "
        f"long window, plus the hold",
    )
