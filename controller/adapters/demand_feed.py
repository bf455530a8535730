"""The forecast port of a real cluster: keeps one forecaster a series, and feeds it what Prometheus has counted since.

The same forecasters run in the command line, the backtest and the simulator. History is fetched once, at the first
refresh; afterwards only intervals that ended since the last one are. A refresh takes as long as its series need and
runs in a thread of its own where the operator asks for that, so that a pass never waits for a forecast: it gets the
newest ones, which say themselves when they were issued.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.types import ForecastSet, Policy
from forecasting.demand import DemandForecaster
from forecasting.errors import ForecastingError
from forecasting.io import HttpLimits, fetch_http
from forecasting.prometheus import aligned_request, read_range
from forecasting.types import DemandForecast, DemandSeries, DemandTarget, SeriesKey

RANGE_LIMITS = HttpLimits(
    timeout_seconds=10.0, max_attempts=2, first_delay_seconds=0.2, max_body_bytes=256 * 1024 * 1024
)
OVERLAP_STEPS = 20
"""Intervals that are asked for again with the new ones, so that an answer always holds enough of them to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandSettings:
    """Where demand is counted, and how often it is forecast.

    Attributes:
        requests_query: PromQL of first-attempt requests per step, by region and tier; for example
            ``sum by (region, tier) (increase(meltguard_inference_requests_received_total{attempt="first"}[1m]))``.
        signups_query: PromQL of sign-ups per step, by region or for the whole world; None without.
        step_seconds: Length of an interval, the same for both.
        lookback_seconds: History at the first refresh.
        period_seconds: Between two refreshes.
        settle_seconds: An interval is taken for complete this long after its end, when its last scrape has arrived.
        max_series: More series of requests are not forecast; a query that was not aggregated would fill the memory.
    """

    requests_query: str
    signups_query: str | None = None
    step_seconds: float = 60.0
    lookback_seconds: float = 86400.0
    period_seconds: float = 60.0
    settle_seconds: float = 10.0
    max_series: int = 1000


class DemandFeed:
    """Implements :class:`~controller.adapters.ports.ForecastPort`.

    Args:
        url: Address of Prometheus.
        settings: What is asked, and how often.
        limits: Bounds of each request.
        fetch: Sends one GET; the default is the real one.
    """

    def __init__(
        self,
        url: str,
        settings: DemandSettings,
        limits: HttpLimits = RANGE_LIMITS,
        *,
        fetch: Callable[[str, HttpLimits], bytes] = fetch_http,
    ) -> None:
        """Know no series yet."""
        self._url = url
        self._settings = settings
        self._limits = limits
        self._fetch = fetch
        self._forecasters: dict[tuple[DemandTarget, SeriesKey], DemandForecaster] = {}
        self._known_until: dict[str, datetime] = {}
        self._refreshed_at: datetime | None = None
        self._current = ForecastSet(demand=())
        self._wanted: tuple[Policy, datetime] | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.problems: tuple[str, ...] = ()

    def forecasts(self, policy: Policy, now: datetime) -> ForecastSet:
        """Return the newest forecasts, and have them renewed when that is due.

        Args:
            policy: Whose horizon and tiers to forecast for.
            now: The present.

        Returns:
            The forecasts; empty before the first refresh succeeded.
        """
        due = self._refreshed_at is None or (now - self._refreshed_at).total_seconds() >= self._settings.period_seconds
        if due and self._thread is None:
            self.refresh(policy, now)
        elif due:
            self._wanted = (policy, now)
            self._wake.set()
        return self._current

    def start(self) -> None:
        """Refresh in a thread of its own from now on."""
        self._thread = threading.Thread(target=self._refresh_forever, name="demand-feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a refresh under way is waited for."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(self._limits.timeout_seconds * self._limits.max_attempts + 5.0)

    def _refresh_forever(self) -> None:
        """Refresh whenever it is asked for."""
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            if self._wanted is not None and not self._stopping.is_set():
                self.refresh(*self._wanted)

    def refresh(self, policy: Policy, now: datetime) -> None:
        """Fetch what was counted since the last refresh, and forecast anew.

        Args:
            policy: Whose horizon and tiers to forecast for.
            now: The present; nothing later is asked for.
        """
        self._refreshed_at = now
        end = now - timedelta(seconds=self._settings.settle_seconds)
        problems: list[str] = []
        requests = self._read(self._settings.requests_query, end, problems)
        signups = self._read(self._settings.signups_query, end, problems) if self._settings.signups_query else {}
        if requests or signups:
            self._observe(policy, requests, signups)
            self._current = self._issue(policy)
        self.problems = tuple(problems)

    def _read(self, query: str, end: datetime, problems: list[str]) -> Mapping[SeriesKey, DemandSeries]:
        """Return the series of a query since the last refresh; none, and a problem, when that fails."""
        step_seconds, since = self._settings.step_seconds, self._known_until.get(query)
        lookback_seconds = self._settings.lookback_seconds
        if since is not None:
            missing_seconds = (end - since).total_seconds() + OVERLAP_STEPS * step_seconds
            lookback_seconds = min(lookback_seconds, missing_seconds)
        request = aligned_request(
            url=self._url, query=query, end=end, lookback_seconds=lookback_seconds, step_seconds=step_seconds
        )
        try:
            series, notes = read_range(
                request, lambda address: self._fetch(address, self._limits), leave_out_short=True
            )
        except ForecastingError as error:
            problems.append(str(error))
            return {}
        self._known_until[query] = request.end
        problems.extend(notes)
        if len(series) > self._settings.max_series:
            problems.append(
                f"the query '{query}' gives {len(series)} series; only {self._settings.max_series} are kept"
            )
        return {one.key: one for one in series[: self._settings.max_series]}

    def _observe(
        self, policy: Policy, requests: Mapping[SeriesKey, DemandSeries], signups: Mapping[SeriesKey, DemandSeries]
    ) -> None:
        """Show every forecaster the intervals that it has not seen, up to the last one that was counted.

        A series that has fallen silent is not shown gaps: its forecast keeps its time of issue, and grows stale.
        """
        deferrable = {tier.name for tier in policy.tiers if tier.deferrable}
        for key, series in requests.items():
            forecaster = self._forecaster(DemandTarget.REQUESTS, series)
            leading = _leading(signups, key, deferrable)
            while forecaster.issued_at < series.end:
                start = forecaster.issued_at
                forecaster.observe(signups=_count(leading, start), requests=_count(series, start))
        for series in signups.values():
            forecaster = self._forecaster(DemandTarget.SIGNUPS, series)
            while forecaster.issued_at < series.end:
                forecaster.observe(signups=_count(series, forecaster.issued_at))

    def _forecaster(self, target: DemandTarget, series: DemandSeries) -> DemandForecaster:
        """Return the forecaster of a series; a new one begins with the series."""
        place = (target, series.key)
        if place not in self._forecasters:
            self._forecasters[place] = DemandForecaster(
                key=series.key, start=series.start, step_seconds=series.step_seconds, target=target
            )
        return self._forecasters[place]

    def _issue(self, policy: Policy) -> ForecastSet:
        """Return a forecast of every series that has been counted at all."""
        num_steps = max(1, math.ceil(policy.horizon_seconds / self._settings.step_seconds))
        issued: dict[DemandTarget, list[DemandForecast]] = {target: [] for target in DemandTarget}
        for (target, _), forecaster in sorted(self._forecasters.items(), key=lambda item: str(item[0])):
            issued[target].append(forecaster.forecast(num_steps=num_steps))
        return ForecastSet(demand=tuple(issued[DemandTarget.REQUESTS]), signups=tuple(issued[DemandTarget.SIGNUPS]))


def _leading(signups: Mapping[SeriesKey, DemandSeries], key: SeriesKey, deferrable: set[str]) -> DemandSeries | None:
    """Return the sign-ups that lead a series: its region's, else the world's; work that may wait follows nobody."""
    if key.tier in deferrable:
        return None
    return signups.get(SeriesKey(region=key.region)) or signups.get(SeriesKey())


def _count(series: DemandSeries | None, start: datetime) -> float:
    """Return the count of the interval that begins at ``start``; NaN where there is none."""
    if series is None:
        return math.nan
    index = round((start - series.start).total_seconds() / series.step_seconds)
    return float(series.values[index]) if 0 <= index < series.num_points else math.nan
