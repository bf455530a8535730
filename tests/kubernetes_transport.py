"""The adapters' view of a Kubernetes API in tests: one request at a time over TLS, and a plain watch."""

from __future__ import annotations

import json
from collections.abc import Iterator

import urllib3

from controller.adapters.ports import ApiAnswer, JsonObject
from controller.errors import RetryableError
from tools.real_parts.credentials import Credentials


class DirectApi:
    """Speaks to an API server (or to a fault proxy before it) with the administrator's certificate."""

    def __init__(self, url: str, credentials: Credentials, *, read_seconds: float = 5.0) -> None:
        """Open no connection yet."""
        self._url = url
        self._pool = urllib3.PoolManager(
            retries=False,
            timeout=urllib3.Timeout(connect=2.0, read=read_seconds),
            ca_certs=str(credentials.authority),
            cert_file=str(credentials.administrator),
            maxsize=8,
        )

    def call(
        self, method: str, path: str, *, body: JsonObject | None = None, content_type: str = "application/json"
    ) -> ApiAnswer:
        """Send one request; status 0 without an answer."""
        encoded = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        try:
            answer = self._pool.request(method, f"{self._url}{path}", body=encoded, headers=headers)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return ApiAnswer(status=0, body={"message": f"no answer ({type(error).__name__})"})
        try:
            return ApiAnswer(status=answer.status, body=json.loads(answer.data))
        except ValueError:
            # A path that nobody serves is answered in plain text.
            return ApiAnswer(status=answer.status, body={"message": answer.data.decode(errors="replace")})

    def watch(self, path: str) -> Iterator[JsonObject]:
        """Yield the events of a watch until it ends."""
        timeout = urllib3.Timeout(connect=2.0, read=3.0)
        try:
            answer = self._pool.request("GET", f"{self._url}{path}", preload_content=False, timeout=timeout)
            try:
                rest = b""
                for piece in answer.stream(65536, decode_content=True):
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        yield json.loads(line)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RetryableError(f"watch broke off: {type(error).__name__}", delay_seconds=0.1) from error

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()
