"""A view of the Kubernetes API in which nothing is read twice: for the reads of one pass over all pools.

A pass over a thousand pools must not cost thousands of requests. What a list has brought answers the single reads that
follow, and what a read has brought (which autoscalers there are) answers the next one. Writes are refused.
"""

from __future__ import annotations

import threading

from controller.adapters.capacity import fields
from controller.adapters.ports import ApiAnswer, JsonObject, KubernetesApi

PAGE_SIZE = 500
MAX_PAGES = 100
FORBIDDEN = 403


class ReadOnce:
    """Answers reads from memory where it can; made for one pass and thrown away. Thread-safe.

    Args:
        api: The Kubernetes API.
    """

    def __init__(self, api: KubernetesApi) -> None:
        """Know nothing yet."""
        self._api = api
        self._known: dict[str, ApiAnswer] = {}
        # One lock a path: whoever asks second waits for the first answer instead of asking again.
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def list_ahead(self, collection: str) -> str | None:
        """Read a whole collection; where that fails its objects are read one by one.

        Args:
            collection: Its path.

        Returns:
            Which right is missing, in one sentence; None when none is.
        """
        page = ""
        for _ in range(MAX_PAGES):
            answer = self._api.call("GET", f"{collection}?limit={PAGE_SIZE}{page}")
            if not answer.ok:
                return answer.message if answer.status == FORBIDDEN else None
            for row in fields.rows(answer.body, "items"):
                path = f"{collection}/{fields.text(row, 'metadata', 'name')}"
                self._known[path] = ApiAnswer(status=200, body=dict(row))
            token = fields.text(answer.body, "metadata", "continue")
            if not token:
                return None
            page = f"&continue={token}"
        return None

    def call(
        self, method: str, path: str, *, body: JsonObject | None = None, content_type: str = "application/json"
    ) -> ApiAnswer:
        """Answer a read.

        Args:
            method: Must be GET.
            path: Path with its query.
            body: Must be None.
            content_type: Of no interest.

        Returns:
            The answer; the first one to the same path.

        Raises:
            ValueError: If it is no read.
        """
        if method != "GET" or body is not None:
            raise ValueError(f"{method} {path}: this view only reads")
        with self._lock:
            own = self._locks.setdefault(path, threading.Lock())
        with own:
            if path not in self._known:
                self._known[path] = self._api.call(method, path, content_type=content_type)
            return self._known[path]
