"""Makes the pages that the server hands out: rendered once per collection, ages added at each request.

Lives in the serving process and its event loop; ``exporters.service`` calls it. A page is never served past the moment
at which one of its GPUs became stale: it is rendered anew first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from exporters import metric_names as names
from exporters.api import gpus_document
from exporters.dcgm import dcgm_samples
from exporters.exposition import Draft, Page, Renderer, Sample
from exporters.fleet import Fleet
from exporters.own_cost import CpuAccount, cost_samples
from exporters.pods.attribution import PodAttribution
from exporters.samples import Labels, age_samples, gpu_labels, gpu_samples, reading_times
from exporters.settings import DcgmNames, ExporterSettings
from exporters.thermals import ThermalEstimate, thermal_samples
from exporters.window import ScrapeIntervals

SLOWEST_SCRAPE_SECONDS = 60.0
"""The slowest answer is kept for this long."""


@dataclass(slots=True, kw_only=True)
class Publisher:
    """Renders the fleet.

    Attributes:
        fleet: What is published.
        settings: Names and node.
        version: Version of meltguard.
        pids: Gives the process ids by role.
        starts: Gives the collectors started, by why.
        num_abandoned: Gives the number of processes that the kernel holds on to.
        pods: What is known of pods; None without a kubelet.
        estimates: Thermal estimates by UUID; replaced as a whole.
        scrapes: Who scrapes how often.
    """

    fleet: Fleet
    settings: ExporterSettings
    version: str
    pids: Callable[[], Mapping[str, int]]
    starts: Callable[[], Mapping[str, int]]
    num_abandoned: Callable[[], int]
    pods: PodAttribution | None = None
    estimates: Mapping[str, ThermalEstimate] = field(default_factory=dict)
    scrapes: ScrapeIntervals = field(default_factory=ScrapeIntervals)
    num_scrapes: int = 0
    _renderer: Renderer = field(default_factory=Renderer)
    _account: CpuAccount = field(default_factory=CpuAccount)
    _page: Page | None = None
    _times: Mapping[str, tuple[Labels, float]] = field(default_factory=dict)
    _valid_until: float = 0.0
    _slowest: tuple[float, float] = (0.0, 0.0)

    async def render(self) -> None:
        """Render a new page in parts, so that a scrape never waits for more than one GPU's part.

        Ages count from the readings at the beginning: a part that is rendered later may only be younger than it says.
        """
        now = time.monotonic()
        self.fleet.expire(now, self.settings.stale_after_seconds)
        times, expiry = reading_times(self.fleet), self.fleet.first_expiry(self.settings.stale_after_seconds)
        draft = Draft(self._renderer)
        for part in self._parts(now):
            draft.add(part)
            await asyncio.sleep(0)
        self._page, self._times, self._valid_until = Page(draft.finish()), times, expiry

    def page(self) -> Page:
        """Return the page; rendered anew, in one go, if one of its GPUs has become stale."""
        now = time.monotonic()
        if self._page is None or now > self._valid_until:
            self.fleet.expire(now, self.settings.stale_after_seconds)
            self._times = reading_times(self.fleet)
            self._valid_until = self.fleet.first_expiry(self.settings.stale_after_seconds)
            draft = Draft(self._renderer)
            for part in self._parts(now):
                draft.add(part)
            self._page = Page(draft.finish())
        return self._page

    def metrics(self, *, openmetrics: bool, gzip: bool, scraper: str) -> bytes:
        """Return ``/metrics``.

        Args:
            openmetrics: The format; else the text format.
            gzip: Whether the body is compressed.
            scraper: Address of who asks; the scrape window follows from how often it does.

        Returns:
            The body, whole.
        """
        began = time.monotonic()
        page = self.page()
        self.scrapes.note(scraper, began)
        self.num_scrapes += 1
        now = time.monotonic()
        window = self.scrapes.window_seconds(now)
        tail = self._renderer.blocks(age_samples(self.fleet, self._times, self.settings.node, now, window))
        make = page.gzipped if gzip else page.plain
        body = make(tail, openmetrics=openmetrics)
        self._note_duration(time.monotonic() - began, now)
        return body

    def gpus_json(self) -> bytes:
        """Return ``/api/v1/gpus``."""
        now = time.monotonic()
        self.fleet.expire(now, self.settings.stale_after_seconds)
        return gpus_document(
            self.fleet,
            self.estimates,
            node=self.settings.node,
            period_seconds=self.settings.period_seconds,
            now_monotonic=now,
        )

    def _note_duration(self, seconds: float, now: float) -> None:
        if seconds >= self._slowest[0] or now - self._slowest[1] > SLOWEST_SCRAPE_SECONDS:
            self._slowest = (seconds, now)

    def _parts(self, now: float) -> Iterator[Iterator[Sample]]:
        """Yield the samples of a page in parts of a fraction of a millisecond each."""
        node, driver_version = self.settings.node, self.fleet.driver_version
        window_seconds = self.scrapes.window_seconds(now)
        # A copy: GPUs may come and go between the parts.
        gpus = dict(self.fleet.gpus)
        for gpu in gpus.values():
            yield gpu_samples(gpu, node, driver_version, now, window_seconds)
        labels = {uuid: gpu_labels(gpu, node) for uuid, gpu in gpus.items()}
        yield thermal_samples(self.fleet, self.estimates, labels)
        if self.pods is not None:
            yield self.pods.samples(now)
        yield self._own_samples()
        if self.settings.dcgm_names is DcgmNames.LEGACY:
            pods = {} if self.pods is None else self.pods.dcgm_pods()
            for uuid, gpu in gpus.items():
                yield dcgm_samples(gpu, node, driver_version, pods.get(uuid))

    def _own_samples(self) -> Iterator[Sample]:
        labels = (self.version, self.settings.source.partition(":")[0], self.settings.node)
        yield Sample(family=names.EXPORTER_BUILD_INFO, labels=labels, value=1)
        yield Sample(family=names.EXPORTER_COLLECTIONS, labels=(), value=self.fleet.num_readings)
        for why, count in self.starts().items():
            yield Sample(family=names.EXPORTER_COLLECTOR_STARTS, labels=(why,), value=count)
        yield Sample(family=names.EXPORTER_COLLECTORS_ABANDONED, labels=(), value=self.num_abandoned())
        for call, cost in self.fleet.call_costs.items():
            yield Sample(family=names.EXPORTER_CALLS, labels=(call,), value=cost.num_calls)
            yield Sample(family=names.EXPORTER_CALL_SECONDS, labels=(call,), value=round(cost.total_seconds, 6))
            yield Sample(family=names.EXPORTER_CALL_MAX, labels=(call,), value=round(cost.max_seconds, 6))
        yield from cost_samples(self.pids(), self._account)
        yield Sample(family=names.EXPORTER_SCRAPES, labels=(), value=self.num_scrapes)
        yield Sample(family=names.EXPORTER_SCRAPE_MAX, labels=(), value=round(self._slowest[0], 6))
