"""Writes what people read: statuses, Events and the ring of decisions. Never in the way of a pass.

A pass says what should stand there; a worker of its own writes what differs, at a bounded rate, the newest word only.
Only a leader writes. What cannot be written is tried again later; an Event is given up after a few tries.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from controller.operator.apply import Fence
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ConflictError, ForbiddenError, KubernetesError, MissingError
from controller.operator.kubernetes.lease import NotLeadingError
from controller.operator.kubernetes.resources import Resource
from controller.operator.kubernetes.work_queue import WorkQueue

MAX_REMEMBERED = 20_000
MAX_EVENT_TRIES = 3
TAKE_SECONDS = 0.5
HELD_SECONDS = 2.0
"""Longest wait for a pass under way; one that hangs must not silence what people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Something to be written: its key, what it says, and how.

    Attributes:
        key: What it replaces; a newer writing of the same key wins.
        content: Compared with what was written last; equal content is not written again.
        send: Writes it.
        max_tries: After which it is given up; None for never.
    """

    key: tuple[str, ...]
    content: object
    send: Callable[[], None]
    max_tries: int | None = None


class Publisher:
    """Takes writings and sends them one after the other.

    Args:
        fence: Asked before every write.
        per_second: Most writes in a second, in the long run.
    """

    def __init__(self, fence: Fence, *, per_second: float = 50.0) -> None:
        """Nothing waits yet."""
        self._fence = fence
        self._queue: WorkQueue[tuple[str, ...]] = WorkQueue(per_second=per_second)
        self._lock = threading.Lock()
        self._wanted: dict[tuple[str, ...], Writing] = {}
        self._written: OrderedDict[tuple[str, ...], object] = OrderedDict()
        self._tries: dict[tuple[str, ...], int] = {}
        self._free = threading.Event()
        self._free.set()
        self._log = structlog.get_logger()
        self.forbidden: dict[str, str] = {}

    @property
    def queue(self) -> WorkQueue[tuple[str, ...]]:
        """What waits, for metrics."""
        return self._queue

    def publish(self, writing: Writing) -> None:
        """Let something be written, unless it stands there already."""
        with self._lock:
            if writing.key not in self._wanted and self._written.get(writing.key) == writing.content:
                return
            self._wanted[writing.key] = writing
        if not self._queue.add(writing.key):
            with self._lock:
                self._wanted.pop(writing.key, None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing be written meanwhile: both would share one interpreter, and a pass decides about heat."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def forget(self) -> None:
        """Forget what was written: another replica may have written since."""
        with self._lock:
            self._written.clear()

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop.

        Args:
            stop: Set when the process ends.
        """
        while not stop.is_set():
            self.step(timeout_seconds=TAKE_SECONDS)

    def step(self, *, timeout_seconds: float) -> bool:
        """Write one thing; return whether there was one.

        Args:
            timeout_seconds: Longest wait for one.

        Returns:
            Whether something was taken from the queue.
        """
        key = self._queue.take(timeout_seconds=timeout_seconds)
        if key is None:
            return False
        self._free.wait(HELD_SECONDS)
        with self._lock:
            writing = self._wanted.pop(key, None)
        if writing is None:
            self._queue.done(key)
            return True
        try:
            self._fence()
            writing.send()
        except NotLeadingError:
            self._queue.done(key)
        except MissingError:
            self._queue.done(key)  # the object is gone, and with it its status
        except KubernetesError as error:
            self._failed(writing, error)
        else:
            self.forbidden.pop(_kind(key), None)
            with self._lock:
                self._tries.pop(key, None)
                self._written[key] = writing.content
                while len(self._written) > MAX_REMEMBERED:
                    self._written.popitem(last=False)
            self._queue.done(key)
        return True

    def _failed(self, writing: Writing, error: KubernetesError) -> None:
        """Try again later, or give up."""
        key = writing.key
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        if isinstance(error, ForbiddenError):
            self.forbidden[_kind(key)] = str(error)
        self._log.warning("publish.failed", key="/".join(key), error=str(error), tries=tries)
        if writing.max_tries is not None and tries >= writing.max_tries:
            self._tries.pop(key, None)
            self._queue.done(key)
            return
        with self._lock:
            self._wanted.setdefault(key, writing)
        least_seconds = error.delay_seconds if not isinstance(error, ConflictError) else 0.0
        self._queue.retry(key, least_seconds=least_seconds)


def _kind(key: tuple[str, ...]) -> str:
    """Return what is written: the status of a kind of object, Events, or a ring."""
    return "/".join(key[:2]) if key[0] == "status" else key[0]


def status_writing(client: KubernetesClient, resource: Resource, name: str, status: dict[str, object]) -> Writing:
    """Return the writing of a status: one request, and a second one where fields are gone that the answer still shows.

    A merge patch and not server-side apply: a status has one writer, and the oldest API server that we test with leaves
    null where an applier no longer names an object, which it then refuses itself.

    Args:
        client: The API.
        resource: The object's resource.
        name: Its name.
        status: What it should say.

    Returns:
        The writing.
    """

    def send() -> None:
        filled = _without_empty(status)
        assert isinstance(filled, dict)
        answer = client.merge_patch(resource, name, {"status": filled}, subresource="status")
        left = merge_patch(answer.get("status") or {}, filled)
        if left:
            client.merge_patch(resource, name, {"status": left}, subresource="status")

    return Writing(key=("status", resource.plural, name), content=status, send=send)


def merge_patch(present: Mapping[str, object], wanted: Mapping[str, object]) -> dict[str, object]:
    """Return the JSON merge patch (RFC 7386) from one object to another; lists are replaced whole.

    Args:
        present: What stands there.
        wanted: What should.

    Returns:
        The patch; empty when nothing differs.
    """
    patch: dict[str, object] = {key: None for key in present if key not in wanted}
    for key, value in wanted.items():
        old = present.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            inner = merge_patch(old, value)
            if inner:
                patch[key] = inner
        elif old != value:
            patch[key] = value
    return patch


def _without_empty(value: object) -> object:
    """Return a status without empty texts, which say nothing and which some API servers read as null."""
    if isinstance(value, dict):
        return {key: _without_empty(entry) for key, entry in value.items() if entry != ""}
    return [_without_empty(entry) for entry in value] if isinstance(value, list) else value
