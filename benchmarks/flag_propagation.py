"""Time from a flag write to flagd providers that obey it: by sync streams of two replicas, and by a mounted file.

A real API server and etcd, 50 of flagd's own Python providers in this process, half of them on the writing replica's
streams and half on another replica's, which learns of the write through a watch. Each write sets another quota; a
provider counts as reached when it reports that its flags changed, after which an evaluation is checked to give the
new value. The clock starts before the write is sent to the API, so that the compare-and-swap is in it. The claims:
p99 at most 250 ms by sync, at most 1 s by file. The file is swapped as the kubelet swaps a mounted ConfigMap; the
kubelet's own delay (up to a minute and more) is not in it, because there is no kubelet here.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.exception import FlagNotFoundError

from controller.adapters.flags.feed import FeedSettings, FlagFeed
from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.flags.sync_server import SyncServer, SyncSettings
from controller.adapters.ports import RenderedFlags, WriteOutcome
from controller.types import Rung
from tests.flag_samples import first_of, rendered
from tests.kubernetes_transport import DirectApi
from tools.real_parts.control_plane import running_control_plane

FREE_USER = EvaluationContext(targeting_key="u", attributes={"region": "r0", "tier": "free"})
FIRST = first_of(Rung.LOWER_FREE_QUOTA)
WAIT_SECONDS = 20.0

Publish = Callable[[RenderedFlags, str], None]


class Consumers:
    """Providers that report when their flags change."""

    def __init__(self, providers: list[FlagdProvider]) -> None:
        """Start all of them."""
        self.providers = providers
        self._changes: queue.Queue[tuple[int, float]] = queue.Queue(maxsize=100_000)
        for number, provider in enumerate(providers):
            provider.attach(self._reporter(number))
            provider.initialize(EvaluationContext())

    def _reporter(self, number: int) -> Callable[[object, ProviderEvent, object], None]:
        def report(provider: object, event: ProviderEvent, details: object) -> None:
            del provider, details
            if event is ProviderEvent.PROVIDER_CONFIGURATION_CHANGED:
                self._changes.put_nowait((number, time.perf_counter()))

        return report

    def latencies(self, began: float, quota: int) -> list[float]:
        """Wait until every provider reports a change and evaluates to the new value; return seconds since ``began``."""
        reached: dict[int, float] = {}
        deadline = time.perf_counter() + WAIT_SECONDS
        while len(reached) < len(self.providers):
            number, at = self._changes.get(timeout=max(deadline - time.perf_counter(), 0.01))
            # A report of the flags that a provider started with may still be on its way.
            if at >= began and self._quota(number) == quota:
                reached.setdefault(number, at - began)
        return list(reached.values())

    def _quota(self, number: int) -> int:
        """Return what a provider says now; -1 before it has the flag."""
        try:
            return int(self.providers[number].resolve_integer_details("images-per-day", -1, FREE_USER).value)
        except FlagNotFoundError:
            return -1

    def close(self) -> None:
        """Shut all providers down."""
        for provider in self.providers:
            provider.shutdown()


def run(publish: Publish, consumers: Consumers, *, num_writes: int, pause_seconds: float, first: int) -> list[float]:
    """Write again and again; return the latency of every write at every provider, in seconds."""
    seconds: list[float] = []
    token = ""
    for number in range(num_writes):
        position, revision = FIRST + number % 2, first + number
        expires_at = datetime.now(tz=UTC) + timedelta(seconds=120)
        flags = rendered({"r0": position}, expires_at=expires_at, revision=revision)
        began = time.perf_counter()
        publish(flags, token)
        seconds += consumers.latencies(began, (10, 5)[number % 2])
        # Off the beat of anything that polls.
        threading.Event().wait(pause_seconds * (0.5 + (number * 0.618) % 1.0))
    return seconds


@contextmanager
def replicas(stack: ExitStack, api: DirectApi, store: ConfigMapFlagStore) -> Iterator[list[tuple[SyncServer, int]]]:
    """Two replicas: each with a sync server that its own feed keeps fresh."""
    started = []
    for _ in range(2):
        server = SyncServer(SyncSettings(listen="127.0.0.1:0"))
        feed = FlagFeed(store, server, FeedSettings(), watch=api.watch)
        started.append((server, server.start()))
        feed.start()
        stack.callback(server.stop)
        stack.callback(feed.stop)
    yield started


def by_sync(api: DirectApi, *, num_providers: int, num_writes: int) -> list[float]:
    """Measure the streams."""
    store = ConfigMapFlagStore(api, namespace="default", name="flags")
    with ExitStack() as stack, replicas(stack, api, store) as started:
        writer = started[0][0]

        def publish(flags: RenderedFlags, token: str) -> None:
            del token
            now = datetime.now(tz=UTC)
            stored = store.read(now).value
            receipt = store.write(flags, epoch=1, token=stored.token if stored else "", now=now)
            if receipt.outcome is not WriteOutcome.DONE:
                raise AssertionError(receipt.text)
            writer.publish(flags.text, flags.revision)

        while any(server.revision < 0 for server, _ in started):
            time.sleep(0.01)
        providers = [
            FlagdProvider(
                host="127.0.0.1", port=started[number % 2][1], resolver_type=ResolverType.IN_PROCESS, deadline_ms=10_000
            )
            for number in range(num_providers)
        ]
        consumers = Consumers(providers)
        stack.callback(consumers.close)
        return run(publish, consumers, num_writes=num_writes, pause_seconds=0.3, first=1)


def by_file(directory: Path, *, num_providers: int, num_writes: int) -> list[float]:
    """Measure a file that is swapped as the kubelet does it: a link to a folder, renamed."""

    def publish(flags: RenderedFlags, token: str) -> None:
        del token
        folder = directory / f"..{flags.revision}"
        folder.mkdir()
        (folder / "flags.json").write_text(flags.text, encoding="utf-8")
        staged = directory / "..data_tmp"
        staged.symlink_to(folder.name)
        os.replace(staged, directory / "..data")

    publish(rendered({"r0": 0}, expires_at=datetime.now(tz=UTC), revision=1), "")
    (directory / "flags.json").symlink_to("..data/flags.json")
    providers = [
        FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(directory / "flags.json"))
        for _ in range(num_providers)
    ]
    consumers = Consumers(providers)
    try:
        return run(publish, consumers, num_writes=num_writes, pause_seconds=0.4, first=2)
    finally:
        consumers.close()


def summary(seconds: list[float]) -> dict[str, float]:
    """Return quantiles in milliseconds."""
    ranked = sorted(seconds)
    levels = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {name: ranked[min(int(level * len(ranked)), len(ranked) - 1)] for name, level in levels.items()}
    return {name: round(value * 1000.0, 1) for name, value in {**found, "max": ranked[-1]}.items()}


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--providers", type=int, default=50, help="consumers")
    parser.add_argument("--writes", type=int, default=100, help="writes for each transport")
    options = parser.parse_args()
    logging.getLogger("openfeature.contrib").setLevel(logging.CRITICAL)
    sizes = {"num_providers": options.providers, "num_writes": options.writes}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        (Path(name) / "api").mkdir()
        (Path(name) / "volume").mkdir()
        plane = stack.enter_context(running_control_plane(Path(name) / "api"))
        synced = by_sync(DirectApi(plane.url, plane.credentials), **sizes)
        filed = by_file(Path(name) / "volume", **sizes)
    print(
        json.dumps(
            {
                "benchmark": "flag_propagation",
                "providers": options.providers,
                "writes": options.writes,
                "sync_milliseconds": summary(synced),
                "file_milliseconds": summary(filed),
                "num_processors": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
