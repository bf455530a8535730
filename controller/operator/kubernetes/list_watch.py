"""A local copy of a list of objects that says how fresh it is.

List, then watch from there on; a watch that ends goes on from the last version seen, one whose version has expired, or
that fails otherwise, begins with a new list after a jittered wait. A silent connection counts as dead after a while:
the API sends bookmarks, and where it does not (before 1.24 rarely), a reconnect that is accepted proves as much. Every
so often the list is read anew in any case, so that no defect of a watch lasts.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from controller.operator.kubernetes.backoff import backoff_seconds
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import (
    ExpiredError,
    KubernetesError,
    MissingError,
    ServerFailedError,
    UnreachableError,
)
from controller.operator.kubernetes.resources import JsonObject, Resource

Item = TypeVar("Item")

PAGE_SIZE = 500
MAX_PAGES = 1000
EXPIRED = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """Bounds of a list-watch.

    Attributes:
        timeout_seconds: After which the API is asked to end a watch; jittered by a fifth.
        silence_seconds: After which a silent connection counts as dead; bounds the age of a quiet copy.
        relist_seconds: After which the list is read anew in any case; jittered by a fifth.
        most_backoff_seconds: Longest wait after failures in a row.
    """

    timeout_seconds: float = 270.0
    silence_seconds: float = 30.0
    relist_seconds: float = 900.0
    most_backoff_seconds: float = 30.0


class ListWatch(Generic[Item]):
    """Keeps what ``convert`` makes of each object; the objects themselves are not kept.

    Args:
        client: The API.
        resource: What to list.
        convert: What to keep of an object; None leaves it out.
        settings: Bounds.
        on_change: Told after a change, with the object's name, or with None after a list; from the watch's thread.
        is_news: Whether a change from one item to another is worth telling.
    """

    def __init__(
        self,
        client: KubernetesClient,
        resource: Resource,
        convert: Callable[[JsonObject], Item | None],
        *,
        settings: WatchSettings = WatchSettings(),
        on_change: Callable[[str | None], None] = lambda name: None,
        is_news: Callable[[Item, Item], bool] = lambda before, after: True,
    ) -> None:
        """Hold nothing yet."""
        self._client = client
        self._resource = resource
        self._convert = convert
        self._settings = settings
        self._on_change = on_change
        self._is_news = is_news
        self._lock = threading.Lock()
        self._items: dict[tuple[str, str], Item] = {}
        self._known_at: float | None = None
        self._version = ""
        self._log = structlog.get_logger().bind(resource=resource.plural)
        self.num_lists = 0
        self.num_watches = 0
        self.problem = ""

    def items(self) -> tuple[Item, ...]:
        """Return what is known, in the order of namespace and name."""
        with self._lock:
            return tuple(self._items[key] for key in sorted(self._items))

    def age_seconds(self) -> float | None:
        """Return how long ago this copy was last known to be the truth; None before the first list."""
        known_at = self._known_at
        return None if known_at is None else max(0.0, time.monotonic() - known_at)

    def run(self, stop: threading.Event) -> None:
        """List and watch until told to stop.

        Args:
            stop: Set when the process ends.
        """
        num_failures = 0
        relist_at = 0.0
        while not stop.is_set():
            try:
                if not self._version or time.monotonic() >= relist_at:
                    self.relist()
                    relist_at = time.monotonic() + self._settings.relist_seconds * random.uniform(0.8, 1.2)
                if self.watch_once(stop, relist_at=relist_at):
                    num_failures = 0
            except KubernetesError as error:
                num_failures += 1
                self.problem = str(error)
                if isinstance(error, ExpiredError) or not isinstance(error, UnreachableError | ServerFailedError):
                    self._version = ""
                if isinstance(error, MissingError):
                    self._forget()
                wait_seconds = backoff_seconds(num_failures, most_seconds=self._settings.most_backoff_seconds)
                wait_seconds = max(wait_seconds, error.delay_seconds if error.status == 429 else 0.0)
                self._log.warning("watch.failed", error=str(error), failures=num_failures, wait_seconds=wait_seconds)
                stop.wait(wait_seconds)

    def _forget(self) -> None:
        """Forget everything: the kind itself is gone, and its objects with it."""
        with self._lock:
            self._items = {}
        self._known_at = None

    def relist(self) -> None:
        """Read the whole list, page by page, and replace the copy."""
        fresh: dict[tuple[str, str], Item] = {}
        page = ""
        for _ in range(MAX_PAGES):
            asked_at = time.monotonic()
            answer = self._client.list(self._resource, limit=PAGE_SIZE, page=page)
            for entry in answer.get("items") or []:
                item = self._convert(entry)
                if item is not None:
                    fresh[_key(entry)] = item
            page = str(answer["metadata"].get("continue") or "")
            if not page:
                break
        with self._lock:
            self._items = fresh
        self._version = str(answer["metadata"]["resourceVersion"])
        self._known_at = asked_at
        self.num_lists += 1
        self._on_change(None)

    def watch_once(self, stop: threading.Event, *, relist_at: float) -> bool:
        """Watch until the connection ends.

        Args:
            stop: Set when the process ends.
            relist_at: When a new list is due, by the monotonic clock.

        Returns:
            Whether anything proved that the copy is current; always True, for a refusal raises.

        Raises:
            UnreachableError: If the connection broke.
            ExpiredError: If the version is too old.
        """
        asked_at = time.monotonic()
        watch = self._client.watch(
            self._resource,
            resource_version=self._version,
            timeout_seconds=self._settings.timeout_seconds * random.uniform(0.8, 1.0),
            silence_seconds=self._settings.silence_seconds,
        )
        self.num_watches += 1
        self._known_at = asked_at
        self.problem = ""
        try:
            for event in watch:
                self._take(event)
                if stop.is_set() or time.monotonic() >= relist_at:
                    break
        except UnreachableError:
            # A quiet watch that the read limit ended is no failure: the next one goes on where this one was.
            if time.monotonic() - asked_at < self._settings.silence_seconds * 0.9:
                raise
        finally:
            watch.close()
        return True

    def _take(self, event: JsonObject) -> None:
        """Take one event into the copy."""
        kind, entry = str(event.get("type")), event.get("object") or {}
        if kind == "ERROR":
            code = entry.get("code")
            message = f"WATCH {self._resource.path()}: {code} {entry.get('message', '')}"
            raise (ExpiredError if code == EXPIRED else ServerFailedError)(message, status=code)
        self._version = str(entry["metadata"]["resourceVersion"])
        self._known_at = time.monotonic()
        if kind == "BOOKMARK":
            return
        item = self._convert(entry) if kind != "DELETED" else None
        with self._lock:
            before = self._items.pop(_key(entry), None)
            if item is not None:
                self._items[_key(entry)] = item
        if item is None or before is None or self._is_news(before, item):
            self._on_change(str(entry["metadata"]["name"]))


def _key(entry: JsonObject) -> tuple[str, str]:
    """Return namespace and name."""
    metadata = entry["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])
