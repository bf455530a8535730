"""Carries the stored flags to this replica's sync server: at once by a watch, and surely by reading again and again.

Runs in every replica, leader or not. A read of the store is what confirms freshness: a watch may be silently dead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.flags.sync_server import SyncServer
from controller.adapters.ports import JsonObject, StoredFlags
from controller.errors import ControllerError, PermanentError

NO_FLAGS = '{"metadata":{"flagSetId":"meltguard","version":"none","revision":0},"flags":{}}'
"""What is streamed before the first write: every flag resolves to the consumer's own default."""


class ObjectWatch(Protocol):
    """Streams the changes of objects; ends by itself within a bound, or raises a ControllerError when it breaks."""

    def __call__(self, path: str) -> Iterator[JsonObject]:
        """Yield the events of ``path`` (with its query) as the API sends them: ``type`` and ``object``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """Periods of the feed.

    Attributes:
        read_seconds: Between two reads of the store; without a watch this is also the longest delay of a change.
        watch_seconds: After which a watch is asked for anew.
        retry_seconds: Wait after a watch that broke.
    """

    read_seconds: float = 1.0
    watch_seconds: float = 240.0
    retry_seconds: float = 1.0


class FlagFeed:
    """Two threads that keep a sync server fresh.

    Args:
        store: The guarded store.
        server: This replica's sync server.
        settings: Periods.
        watch: How to watch; None reads only.
        clock: The present time, aware UTC.
    """

    def __init__(
        self,
        store: ConfigMapFlagStore,
        server: SyncServer,
        settings: FeedSettings,
        *,
        watch: ObjectWatch | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
    ) -> None:
        """Carry nothing until :meth:`start`."""
        self._store = store
        self._server = server
        self._settings = settings
        self._watch = watch
        self._clock = clock
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.problem: str | None = None
        self.watch_problem: str | None = None

    def start(self) -> None:
        """Begin to carry."""
        tasks = {"flag-feed-read": self._read_forever}
        if self._watch is not None:
            tasks["flag-feed-watch"] = self._watch_forever
        self._threads = [threading.Thread(target=task, name=name, daemon=True) for name, task in tasks.items()]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop carrying; a watch under way ends when its connection does."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(self._settings.read_seconds + 1.0)

    def carry(self, stored: StoredFlags) -> None:
        """Stream what the store holds; flags that a hand has edited are not spread, and confirm nothing."""
        if not stored.intact:
            self.problem = "the stored flags were edited by hand; the next write repairs them"
            return
        self.problem = None
        # A store that was never written limits nothing; consumers must be able to start before the first decision.
        text = stored.rendered.text if stored.token else NO_FLAGS
        if not self._server.publish(text, stored.rendered.revision) and not self._server.is_fresh:
            self.problem = "the store holds older flags than were streamed; was it deleted?"

    def _read_forever(self) -> None:
        """Read the store at its period; each answer confirms that the streams are fresh."""
        while not self._stopping.is_set():
            began = time.monotonic()
            stored = self._store.read(self._clock()).value
            if stored is None:
                self.problem = "the flag store does not answer"
            else:
                self.carry(stored)
            self._stopping.wait(max(self._settings.read_seconds - (time.monotonic() - began), 0.01))

    def _watch_forever(self) -> None:
        """Watch the store; a watch that ends or breaks is asked for anew, and the reads bridge the gap."""
        assert self._watch is not None
        path = (
            f"{self._store.collection_path}?watch=true&fieldSelector=metadata.name%3D{self._store.name}"
            f"&timeoutSeconds={round(self._settings.watch_seconds)}"
        )
        while not self._stopping.is_set():
            try:
                for event in self._watch(path):
                    self.watch_problem = None
                    body = event.get("object")
                    if event.get("type") in ("ADDED", "MODIFIED") and isinstance(body, dict):
                        self.carry(self._store.parse(body))
                    if self._stopping.is_set():
                        return
            except PermanentError as error:
                self.watch_problem = f"changes of flags are streamed late: {error}"
            except ControllerError:
                # The reads go on and say what is wrong; the watch is only there to be quick. A quiet one ends, too.
                self.watch_problem = None
            self._stopping.wait(self._settings.retry_seconds)
