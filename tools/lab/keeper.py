"""Keeps processes alive, as a kubelet does: what ends is started again after a moment, until it is let go.

Every process is started from the keeper's own thread: a child dies with the thread that started it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tools.real_parts.processes import ChildProcess, RealPartError

TURN_SECONDS = 0.2
BACK_OFF_TURNS = 5
"""A process that ended is started again after so many turns."""
MAX_RESTARTS = 200
MAX_STOPPERS = 16


class Keeper:
    """The processes of the lab.

    Attributes:
        num_restarts: How often each process was started again, by name.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.num_restarts: dict[str, int] = {}
        self._kept: dict[str, ChildProcess] = {}
        self._down_turns: dict[str, int] = {}
        self._adopted: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End every process that was started here, all at once, and then the thread."""
        with self._lock:
            kept, self._kept = self._kept, {}
        # The thread must outlive its children, or they would be killed instead of ended.
        with ThreadPoolExecutor(MAX_STOPPERS, thread_name_prefix="stop") as stoppers:
            list(stoppers.map(ChildProcess.stop, [each for name, each in kept.items() if name not in self._adopted]))
        self._stop.set()
        self._thread.join(30.0)

    def keep(self, process: ChildProcess) -> None:
        """Have a process started, and started again whenever it ends."""
        with self._lock:
            self._kept[process.name] = process
            self._down_turns[process.name] = BACK_OFF_TURNS

    def adopt(self, process: ChildProcess) -> None:
        """Keep a process that runs already; whoever started it ends it, after `stop`."""
        with self._lock:
            self._adopted.add(process.name)
            self.num_restarts[process.name] = 0
            self._kept[process.name] = process
            self._down_turns[process.name] = 0

    def let_go(self, name: str) -> None:
        """End a process in order and keep it no longer."""
        with self._lock:
            process = self._kept.pop(name, None)
            self._down_turns.pop(name, None)
        if process is not None:
            process.stop()

    def names(self) -> tuple[str, ...]:
        """Return the names of what is kept."""
        with self._lock:
            return tuple(self._kept)

    def down(self) -> tuple[str, ...]:
        """Return the names of what is kept and does not run now."""
        with self._lock:
            return tuple(name for name, process in self._kept.items() if process.pid is None)

    def kill(self, name: str) -> bool:
        """Kill a process as a crash would; return whether it ran."""
        with self._lock:
            process = self._kept.get(name)
            runs = process is not None and process.pid is not None
            if process is not None and runs:
                process.kill()
            return runs

    def _run(self) -> None:
        while not self._stop.wait(TURN_SECONDS):
            with self._lock:
                for name, process in self._kept.items():
                    self._look_after(name, process)

    def _look_after(self, name: str, process: ChildProcess) -> None:
        """Start a process that is down and has waited long enough."""
        if process.pid is not None:
            self._down_turns[name] = 0
            return
        self._down_turns[name] += 1
        if self._down_turns[name] < BACK_OFF_TURNS or self.num_restarts.get(name, -1) >= MAX_RESTARTS:
            return
        self.num_restarts[name] = self.num_restarts.get(name, -1) + 1
        self._down_turns[name] = 0
        try:
            process.start(at_once, timeout_seconds=5.0)
        except RealPartError:
            # It ended while it started; its log says why, and the next turn tries again.
            return


def at_once() -> bool:
    """Return that a process counts as started: who uses it finds out whether it is ready."""
    return True


def wait_until(holds: Callable[[], bool], *, seconds: float, what: str, stop: threading.Event) -> None:
    """Wait for a condition.

    Args:
        holds: The condition.
        seconds: Longest wait, > 0.
        what: What is waited for, for the message.
        stop: Ends the wait at once.

    Raises:
        RealPartError: If it does not hold in time, or the wait was ended.
    """
    for _ in range(round(seconds / 0.1)):
        if holds():
            return
        if stop.wait(0.1):
            break
    raise RealPartError(f"{what} was not ready within {seconds:.0f} s; the logs lie beside the audit log")
