"""The collector process: reads the source and writes messages to a pipe; may be killed at any moment.

Started by ``exporters.supervisor`` as ``python -m exporters.collector SETTINGS``, with the pipe as its standard output.
One thread per GPU, so that a call that hangs costs its own GPU only; the main thread reports which calls hang. It keeps
no state that matters: everything cumulative lives in the hardware or in the serving process. It must not import the
serving side, and ends by itself when the pipe closes.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import msgspec

from exporters.calls import CallTracker, merge_statistics
from exporters.errors import DeviceLostError, ExporterError, SourceError
from exporters.margin import thermal_margin_celsius
from exporters.messages import (
    PLACEHOLDER_PREFIX,
    CallStatistics,
    DeviceIdentity,
    Down,
    Failed,
    FastReading,
    Heartbeat,
    Hello,
    Message,
    SlowReading,
    TopologyChanged,
    encode,
)
from exporters.sources import DeviceReader, Source, make_source

HEARTBEAT_SECONDS = 0.25
STATISTICS_EVERY_HEARTBEATS = 8
REPORT_CALLS_LONGER_THAN_SECONDS = 0.2
TOPOLOGY_SECONDS = 5.0
EVENT_WAIT_SECONDS = 1.0
LOST_RETRY_SECONDS = 2.0
LEAST_MARGIN_CELSIUS = -60.0
"""A margin below this is garbage, and no reason to hurry."""
PROBE_NICENESS = 10
READER_STACK_BYTES = 512 * 1024

_PARENT_DEATH_SIGNAL = 1
"""``PR_SET_PDEATHSIG`` of prctl(2)."""


class CollectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a collector is told, as JSON in its first argument.

    Attributes:
        source: As ``--source``.
        nvml_library: As ``--nvml-library``.
        period_seconds: Between fast readings.
        hot_period_seconds: The same while the margin is at most ``hot_margin_celsius``.
        hot_margin_celsius: See above.
        slow_period_seconds: Between slow readings.
        exclude: GPUs (by UUID) that must not be touched: their calls hang.
        only: If not empty, read these GPUs alone.
    """

    source: str
    nvml_library: str | None = None
    period_seconds: float = 1.0
    hot_period_seconds: float = 0.2
    hot_margin_celsius: float = 10.0
    slow_period_seconds: float = 5.0
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def wants(self, uuid: str) -> bool:
        """Whether the GPU is to be read."""
        return uuid not in self.exclude and (not self.only or uuid in self.only)


class Outlet:
    """Writes messages to the pipe from many threads; ends the process when nobody reads any more."""

    def __init__(self, descriptor: int) -> None:
        """Write to ``descriptor``, which stays blocking."""
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Write one message whole."""
        frame = memoryview(encode(message))
        with self._lock:
            while frame:
                try:
                    written = os.write(self._descriptor, frame)
                except OSError:
                    end_process(0)
                frame = frame[written:]

    def fail(self, error: SourceError) -> None:
        """Say why, and end the process: only a fresh one may help."""
        self.send(Failed(reason=error.reason, detail=str(error)))
        end_process(1)


def end_process(status: int) -> None:
    """End at once: a thread that hangs in the driver would hold up an orderly exit for ever."""
    os._exit(status)


def next_tick(now: float, period_seconds: float) -> float:
    """Return the next multiple of the period: all GPUs are read together, so that one rendering serves them all."""
    return (math.floor(now / period_seconds) + 1) * period_seconds


class ReaderThread:
    """Reads one GPU for ever."""

    def __init__(self, reader: DeviceReader, uuid: str, settings: CollectorSettings, outlet: Outlet) -> None:
        """Prepare to read ``uuid`` through ``reader``."""
        self._reader = reader
        self._uuid = uuid
        self._settings = settings
        self._outlet = outlet
        self._slow: SlowReading | None = None
        self._slow_due = 0.0

    def run(self) -> None:
        """Read, send, sleep until the next tick; a lost GPU is tried again now and then."""
        while True:
            try:
                delay_seconds = self._read_once()
            except DeviceLostError as error:
                self._outlet.send(Down(uuid=self._uuid, reason=error.reason, detail=str(error)))
                delay_seconds = LOST_RETRY_SECONDS
                self._slow_due = 0.0
            except SourceError as error:
                self._outlet.fail(error)
                return
            except Exception as error:  # One GPU's surprise must not stop the others.
                self._outlet.send(Down(uuid=self._uuid, reason="error", detail=f"{type(error).__name__}: {error}"))
                delay_seconds = LOST_RETRY_SECONDS
            time.sleep(delay_seconds)

    def _read_once(self) -> float:
        """Read and send once; return the seconds until the next reading."""
        fast = self._reader.read_fast()
        self._outlet.send(fast)
        if time.monotonic() >= self._slow_due:
            self._slow = self._reader.read_slow()
            self._outlet.send(self._slow)
            self._slow_due = time.monotonic() + self._settings.slow_period_seconds
        now = time.monotonic()
        return max(next_tick(now, self._period_seconds(fast)) - now, 0.0)

    def _period_seconds(self, fast: FastReading) -> float:
        margin = thermal_margin_celsius(
            temperature_celsius=fast.temperature_celsius,
            memory_temperature_celsius=fast.memory_temperature_celsius,
            driver_margin_celsius=fast.margin_celsius,
            thresholds_celsius={} if self._slow is None else self._slow.thresholds_celsius,
        )
        hot = margin is not None and LEAST_MARGIN_CELSIUS <= margin <= self._settings.hot_margin_celsius
        return (
            min(self._settings.hot_period_seconds, self._settings.period_seconds)
            if hot
            else self._settings.period_seconds
        )


class Collector:
    """Opens the source, starts the threads, reports that it lives."""

    def __init__(self, settings: CollectorSettings, source: Source, outlet: Outlet) -> None:
        """Collect from ``source`` into ``outlet``."""
        self._settings = settings
        self._source = source
        self._outlet = outlet
        self._trackers: list[CallTracker] = [CallTracker()]

    def run(self) -> None:
        """Never returns: the process ends by a signal, a closed pipe or a failed source."""
        self._start(self._open_and_read, "open")
        num_heartbeats = 0
        while True:
            now = time.monotonic()
            in_flight = (t.in_flight(now, REPORT_CALLS_LONGER_THAN_SECONDS) for t in list(self._trackers))
            statistics: tuple[CallStatistics, ...] = ()
            if num_heartbeats % STATISTICS_EVERY_HEARTBEATS == 0:
                statistics = merge_statistics(list(self._trackers))
            self._outlet.send(
                Heartbeat(
                    at_monotonic=now, in_flight=tuple(c for c in in_flight if c is not None), statistics=statistics
                )
            )
            num_heartbeats += 1
            time.sleep(HEARTBEAT_SECONDS)

    def _start(self, body: Callable[[], None], name: str) -> None:
        threading.Thread(target=body, name=name, daemon=True).start()

    def _open_and_read(self) -> None:
        """Open the source (which may hang, hence a thread), start the readers, then wait for events."""
        try:
            devices = self._source.open(self._trackers[0])
        except SourceError as error:
            self._outlet.fail(error)
            return
        self._outlet.send(Hello(driver_version=self._source.driver_version, devices=devices))
        for device in devices:
            if device.uuid.startswith(PLACEHOLDER_PREFIX):
                self._outlet.send(Down(uuid=device.uuid, reason="unidentified"))
            elif self._settings.wants(device.uuid):
                self._start_reader(device)
        self._watch_events()

    def _start_reader(self, device: DeviceIdentity) -> None:
        tracker = CallTracker(device.uuid)
        reader = self._source.reader(device, tracker)
        self._trackers.append(tracker)
        self._start(ReaderThread(reader, device.uuid, self._settings, self._outlet).run, device.uuid)

    def _watch_events(self) -> None:
        """Forward XIDs; notice GPUs that come and go."""
        known = self._source.topology()
        topology_due = time.monotonic() + TOPOLOGY_SECONDS
        while True:
            began = time.monotonic()
            try:
                for event in self._source.wait_for_events(EVENT_WAIT_SECONDS):
                    self._outlet.send(event)
            except SourceError as error:
                self._outlet.fail(error)
            if time.monotonic() >= topology_due:
                present = self._source.topology()
                if present != known:
                    self._outlet.send(TopologyChanged(detail=f"{known} -> {present}"))
                    known = present
                topology_due = time.monotonic() + TOPOLOGY_SECONDS
            # A source without events returns at once.
            if time.monotonic() - began < EVENT_WAIT_SECONDS / 2:
                time.sleep(EVENT_WAIT_SECONDS / 2)


def die_with_parent() -> None:
    """Ask the kernel to end this process with the serving process, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def claim_standard_output() -> int:
    """Return the pipe; whatever a library prints goes to standard error instead."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def main() -> None:
    """Run a collector as its first argument says."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    outlet = Outlet(claim_standard_output())
    settings = msgspec.json.decode(sys.argv[1], type=CollectorSettings)
    if settings.only:
        # A probe is in no hurry; its start must not hold up a scrape.
        os.nice(PROBE_NICENESS)
    threading.stack_size(READER_STACK_BYTES)
    try:
        source = make_source(settings.source, settings.nvml_library)
    except ExporterError as error:
        outlet.send(Failed(reason="settings", detail=str(error)))
        end_process(2)
    Collector(settings, source, outlet).run()


if __name__ == "__main__":
    main()
