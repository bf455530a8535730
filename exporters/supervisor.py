"""Runs the collector processes as ``exporters.supervision`` decides, and hands their messages to the fleet.

Part of the serving process; lives in its event loop. It never calls the driver, never waits for a process to die, and
reads each pipe only when there is something to read.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from exporters.collector import CollectorSettings
from exporters.fleet import Fleet
from exporters.logs import Log
from exporters.messages import (
    Down,
    Failed,
    FastReading,
    FrameReader,
    Heartbeat,
    Hello,
    Message,
    StreamError,
    TopologyChanged,
)
from exporters.supervision import (
    CollectorView,
    Deadlines,
    End,
    Memory,
    Promote,
    Role,
    Start,
    Stuck,
    Why,
    decide,
    note_answer,
    note_failure,
)

TICK_SECONDS = 0.1
READ_BYTES = 1 << 16


@dataclass(slots=True, kw_only=True)
class Running:
    """A collector process.

    Attributes:
        process: The child.
        settings: What it was told.
        view: What is known of it.
        frames: Its byte stream.
        costs_before: Call costs of its last report.
    """

    process: subprocess.Popen[bytes]
    settings: CollectorSettings
    view: CollectorView
    frames: FrameReader = field(default_factory=FrameReader)
    costs_before: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def descriptor(self) -> int:
        """The reading end of its pipe."""
        assert self.process.stdout is not None, "collectors are started with a pipe"
        return self.process.stdout.fileno()


class Supervisor:
    """Keeps one collector at work.

    Attributes:
        memory: What the decisions remember.
        num_starts: Collectors started, by why.
        abandoned: Killed processes that have not died yet.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        deadlines: Deadlines,
        fleet: Fleet,
        *,
        on_change: Callable[[], None],
        log: Log,
    ) -> None:
        """Supervise collectors that are told ``settings``; ``on_change`` is called after new readings."""
        self._settings = settings
        self._deadlines = deadlines
        self._fleet = fleet
        self._on_change = on_change
        self._log = log
        self._running: dict[Role, Running] = {}
        self.memory = Memory(lost_pause=deadlines.lost_pause)
        self.num_starts: dict[Why, int] = dict.fromkeys(Why, 0)
        self.abandoned: list[subprocess.Popen[bytes]] = []

    async def run(self) -> None:
        """Decide and act until cancelled; then end all collectors."""
        try:
            while True:
                self._tick()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            for role in list(self._running):
                self._end(role)
            self._reap()

    @property
    def collector_pids(self) -> dict[Role, int]:
        """Process ids of the collectors that run."""
        return {role: running.process.pid for role, running in self._running.items()}

    @property
    def is_collecting(self) -> bool:
        """Whether an active collector has opened its source."""
        active = self._running.get(Role.ACTIVE)
        return active is not None and active.view.opened_at is not None

    def _tick(self) -> None:
        now = time.monotonic()
        self._reap()
        actions = decide(
            {role: running.view for role, running in self._running.items()},
            self.memory,
            self._deadlines,
            now,
            num_abandoned=len(self.abandoned),
            any_lost=any(True for _ in self._fleet.lost()),
        )
        for action in actions:
            match action:
                case Start():
                    self._start(action)
                case End():
                    self._end_for_cause(action)
                case Promote():
                    self._promote()
                case Stuck():
                    self._log.warning("exporter.call_stuck", uuid=action.call.uuid, call=action.call.call)
                    self._fleet.mark_stuck(action.call)
                    self._on_change()

    def _start(self, action: Start) -> None:
        exclude = () if action.only is not None else tuple(self.memory.quarantine)
        only = (action.only,) if action.only is not None else ()
        settings = msgspec.structs.replace(self._settings, exclude=exclude, only=only)
        arguments = [sys.executable, "-P", "-m", "exporters.collector", msgspec.json.encode(settings).decode()]
        # One memory arena instead of one per thread: eight reader threads would each keep megabytes.
        environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
        running = Running(
            process=process, settings=settings, view=CollectorView(started_at=time.monotonic(), only=action.only)
        )
        os.set_blocking(running.descriptor, False)
        self._running[action.role] = running
        self.num_starts[action.why] += 1
        asyncio.get_running_loop().add_reader(running.descriptor, self._read, running)
        self._log.info("exporter.collector_started", why=action.why.value, pid=process.pid, left_out=list(exclude))

    def _role_of(self, running: Running) -> Role | None:
        return next((role for role, known in self._running.items() if known is running), None)

    def _read(self, running: Running) -> None:
        """Take what the pipe holds; its end means that the process is gone."""
        role = self._role_of(running)
        if role is None:
            return
        try:
            data = os.read(running.descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone(role, running, "ended")
            return
        try:
            for message in running.frames.feed(data):
                self._handle(role, running, message)
        except StreamError as error:
            self._gone(role, running, str(error))

    def _handle(self, role: Role, running: Running, message: Message) -> None:
        now = time.monotonic()
        view = running.view
        match message:
            case Heartbeat():
                view.heartbeat_at = now
                view.in_flight = message.in_flight
                self._fleet.add_heartbeat(message, running.costs_before)
            case Hello():
                view.opened_at = now
                view.wanted = {device.uuid for device in message.devices if running.settings.wants(device.uuid)}
                if role is not Role.PROBE:
                    self._fleet.apply(message)
                    self._remark_stuck()
                    self._on_change()
            case FastReading() | Down():
                view.answered.add(message.uuid)
                # A GPU that was left out answers: to its probe, or to the old collector before that was replaced.
                note_answer(message.uuid, self.memory)
                if role is Role.PROBE:
                    self._end(role)
                self._fleet.apply(message)
                self._on_change()
            case Failed():
                self._log.warning("exporter.collector_failed", reason=message.reason, detail=message.detail)
                self._blame(role, message.reason, message.detail)
            case TopologyChanged():
                self._log.warning("exporter.topology_changed", detail=message.detail)
                self.memory.replace = Why.TOPOLOGY
            case _:
                self._fleet.apply(message)

    def _blame(self, role: Role, reason: str, detail: str) -> None:
        """Take the GPUs for down, unless another collector still reads them."""
        if role is Role.ACTIVE or (role is Role.CANDIDATE and Role.ACTIVE not in self._running):
            self._fleet.mark_failed(reason, detail)
            self._on_change()

    def _remark_stuck(self) -> None:
        """A GPU that is left out stays published as stuck, whatever the new collector enumerates."""
        for entry in self.memory.quarantine.values():
            self._fleet.mark_stuck(entry.call)

    def _gone(self, role: Role, running: Running, why: str) -> None:
        self._log.warning("exporter.collector_gone", role=role.value, pid=running.process.pid, why=why)
        self._end(role)
        if role is Role.PROBE:
            return
        note_failure(running.view, self.memory, self._deadlines, time.monotonic())

    def _end_for_cause(self, action: End) -> None:
        running = self._running.get(action.role)
        if running is not None and action.role is not Role.PROBE:
            self._blame(action.role, "collector_stuck", action.why)
            self._gone(action.role, running, action.why)
        else:
            self._end(action.role)

    def _promote(self) -> None:
        self._end(Role.ACTIVE)
        self._running[Role.ACTIVE] = self._running.pop(Role.CANDIDATE)

    def _end(self, role: Role) -> None:
        """Kill a collector and forget it; whether it dies is looked at later."""
        running = self._running.pop(role, None)
        if running is None:
            return
        asyncio.get_running_loop().remove_reader(running.descriptor)
        assert running.process.stdout is not None, "collectors are started with a pipe"
        running.process.stdout.close()
        running.process.kill()
        self.abandoned.append(running.process)

    def _reap(self) -> None:
        self.abandoned = [process for process in self.abandoned if process.poll() is None]
