"""A small client of the Kubernetes API: plain JSON objects, a time limit on every request, and no retry of its own.

The official package loads the configuration (files, exec plugins, tokens that renew themselves); its connections,
models, leader election and informers are not used (docs/decisions/0070). Callers decide about retries, because only
they know whether a write that got no answer may be sent again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

import msgspec
import urllib3

from controller.adapters.ports import ApiAnswer
from controller.operator.kubernetes.access import Access, tls_arguments
from controller.operator.kubernetes.errors import (
    DEFAULT_DELAY_SECONDS,
    KubernetesError,
    MissingError,
    UnreachableError,
    error_of,
)
from controller.operator.kubernetes.resources import JsonObject, Resource
from controller.operator.kubernetes.watch import Watch

CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
MAX_CONNECTIONS = 16
MAX_RETRY_AFTER_SECONDS = 60.0
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
FIELD_MANAGER = "meltguard"


class KubernetesClient:
    """One pool of connections to the API. Thread-safe.

    Args:
        access: Where and how.
        connect_seconds: Longest wait for a connection.
        read_seconds: Longest wait for an answer, and between two pieces of it.
        max_connections: Connections kept; more callers wait for none of them but open short-lived ones.
    """

    def __init__(
        self,
        access: Access,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Open no connection yet."""
        self.url = access.url
        self._configuration = access.configuration
        self._timeout = urllib3.Timeout(connect=connect_seconds, read=read_seconds)
        self._connect_seconds = connect_seconds
        self._credentials_lock = threading.Lock()
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=max_connections,
            retries=False,
            **tls_arguments(access.configuration),
        )

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.clear()

    def get(self, resource: Resource, name: str, *, subresource: str = "") -> JsonObject:
        """Return an object as it is now.

        Args:
            resource: Its kind.
            name: Its name.
            subresource: Such as ``scale``.

        Returns:
            The object.
        """
        return self.request("GET", resource.path(name, subresource))

    def list(
        self, resource: Resource, *, label_selector: str = "", field_selector: str = "", limit: int = 0, page: str = ""
    ) -> JsonObject:
        """Return one page of a list.

        Args:
            resource: What to list.
            label_selector: Only these.
            field_selector: Only these.
            limit: Most objects on a page; 0 for all at once.
            page: ``metadata.continue`` of the page before.

        Returns:
            The list object.
        """
        query = {"labelSelector": label_selector, "fieldSelector": field_selector, "continue": page}
        if limit:
            query["limit"] = str(limit)
        return self.request("GET", resource.path(), query=query)

    def create(self, resource: Resource, body: Mapping[str, object]) -> JsonObject:
        """Create an object and return it as the API keeps it."""
        return self.request("POST", resource.path(), body=body, query={"fieldManager": FIELD_MANAGER})

    def replace(
        self, resource: Resource, name: str, body: Mapping[str, object], *, subresource: str = ""
    ) -> JsonObject:
        """Replace an object; with a ``resourceVersion`` in the body this is a compare-and-swap.

        Args:
            resource: Its kind.
            name: Its name.
            body: The whole object.
            subresource: Such as ``status``.

        Returns:
            The object as the API keeps it.
        """
        query = {"fieldManager": FIELD_MANAGER}
        return self.request("PUT", resource.path(name, subresource), body=body, query=query)

    def merge_patch(
        self,
        resource: Resource,
        name: str,
        patch: Mapping[str, object],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> JsonObject:
        """Change some fields; with ``metadata.resourceVersion`` in the patch this is a compare-and-swap.

        Args:
            resource: Its kind.
            name: Its name.
            patch: The fields, None to remove one.
            subresource: Such as ``scale``.
            dry_run: Let the API check the change without keeping it.

        Returns:
            The object after the change.
        """
        query = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})}
        return self.request(
            "PATCH", resource.path(name, subresource), body=patch, query=query, content_type=MERGE_PATCH
        )

    def apply(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, object],
        *,
        subresource: str = "",
        force: bool = False,
    ) -> JsonObject:
        """Server-side apply: own these fields, create the object if need be.

        Args:
            resource: Its kind.
            name: Its name.
            body: The fields that we own, with ``apiVersion`` and ``kind``.
            subresource: Such as ``status``.
            force: Take fields from other managers; else they answer with a conflict.

        Returns:
            The object after the change.
        """
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        return self.request("PATCH", resource.path(name, subresource), body=body, query=query, content_type=APPLY_PATCH)

    def delete(self, resource: Resource, name: str) -> None:
        """Delete an object; done when the API has taken note."""
        self.request("DELETE", resource.path(name))

    def resource(self, api_version: str, kind: str, namespace: str | None = None) -> Resource:
        """Return the resource of a kind, asking the API for its plural once.

        Args:
            api_version: Such as ``cluster.x-k8s.io/v1beta1``.
            kind: Such as ``MachineDeployment``.
            namespace: Where it lies; left out where the kind has no namespace.

        Returns:
            The resource.

        Raises:
            MissingError: If the API does not know the kind.
        """
        known = self._kinds.get((api_version, kind))
        if known is None:
            root = "/api/" if "/" not in api_version else "/apis/"
            listed = self.request("GET", root + api_version).get("resources", [])
            entry = next((row for row in listed if row["kind"] == kind and "/" not in row["name"]), None)
            if entry is None:
                raise MissingError(f"the API has no {kind} in {api_version}; is its CRD installed?", status=404)
            known = self._kinds[api_version, kind] = entry["name"], bool(entry["namespaced"])
        plural, is_namespaced = known
        return Resource(api_version=api_version, plural=plural, namespace=namespace if is_namespaced else None)

    def version(self) -> tuple[JsonObject, datetime | None]:
        """Return the API's version and what time it is there; None where its answer does not say.

        Raises:
            UnreachableError: If there was no whole answer in time.
        """
        response = self._send("GET", "/version")
        if response.status >= 400:
            raise _error(response, "GET /version")
        date = response.headers.get("Date")
        try:
            return msgspec.json.decode(response.data), None if date is None else parsedate_to_datetime(date)
        except (msgspec.DecodeError, ValueError) as error:
            raise UnreachableError(f"GET /version: the answer makes no sense ({error})") from error

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        """Send one request and return the object that it is answered with.

        Args:
            method: HTTP method.
            path: Path below the API's address.
            body: JSON body; None for none.
            query: Parameters; empty ones are left out.
            content_type: Of the body.

        Returns:
            The decoded answer.

        Raises:
            UnreachableError: If there was no whole answer in time.
        """
        place = f"{method} {path}"
        encoded = None if body is None else msgspec.json.encode(body)
        response = self._send(method, _target(path, query), body=encoded, content_type=content_type)
        if response.status >= 400:
            raise _error(response, place)
        try:
            answer: JsonObject = msgspec.json.decode(response.data) if response.data else {}
        except msgspec.DecodeError as error:
            raise UnreachableError(f"{place}: the answer broke off ({error})") from error
        return answer

    def watch(
        self, resource: Resource, *, resource_version: str, timeout_seconds: float, silence_seconds: float
    ) -> Watch:
        """Begin a watch, bookmarks included; returns when the API has accepted it.

        Args:
            resource: What to watch.
            resource_version: From where on.
            timeout_seconds: After which the API ends it, > 0.
            silence_seconds: Longest wait between two events before the connection counts as dead, > 0.

        Returns:
            The events, to be iterated and closed.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout_seconds))),
        }
        return self.stream(_target(resource.path(), query), silence_seconds=silence_seconds)

    def stream(self, target: str, *, silence_seconds: float) -> Watch:
        """Begin the watch of a path that asks for one; returns when the API has accepted it.

        Args:
            target: Path with its query.
            silence_seconds: Longest wait between two events before the connection counts as dead, > 0.

        Returns:
            The events, to be iterated and closed.
        """
        timeout = urllib3.Timeout(connect=self._connect_seconds, read=silence_seconds)
        place = f"WATCH {target.partition('?')[0]}"
        response = self._send("GET", target, stream_timeout=timeout)
        if response.status >= 400:
            try:
                raise _error(response, place)
            finally:
                response.close()
        return Watch(response, place)

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        content_type: str = "application/json",
    ) -> ApiAnswer:
        """Send one request as the adapters do: what goes wrong comes back as a status.

        Args:
            method: HTTP method.
            path: Path with its query.
            body: JSON body; None sends none.
            content_type: Its type.

        Returns:
            The answer; status 0 without one.
        """
        try:
            return ApiAnswer(status=200, body=self.request(method, path, body=body, content_type=content_type))
        except KubernetesError as error:
            return ApiAnswer(status=error.status or 0, body={"message": str(error), "reason": error.reason})

    def _send(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        stream_timeout: urllib3.Timeout | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request on the pool; with a stream's time limit the body is left to be read."""
        try:
            return self._pool.request(
                method,
                f"{self.url}{target}",
                body=body,
                headers=self._headers(content_type),
                timeout=stream_timeout or self._timeout,
                preload_content=stream_timeout is None,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{method} {target}: no answer ({type(error).__name__}: {error})") from error

    def _headers(self, content_type: str) -> dict[str, str]:
        """Return the headers of a request; credentials are renewed here when their time has come."""
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "meltguard"}
        with self._credentials_lock:
            for setting in self._configuration.auth_settings().values():
                if setting["in"] == "header" and setting["value"]:
                    headers[setting["key"]] = setting["value"]
        return headers


def _target(path: str, query: Mapping[str, str] | None) -> str:
    """Return path and parameters; empty parameters are left out."""
    parameters = {key: value for key, value in (query or {}).items() if value}
    return path + (f"?{urlencode(parameters)}" if parameters else "")


def _error(response: urllib3.BaseHTTPResponse, place: str) -> KubernetesError:
    """Return the error that an answer means; whatever stands in the way may answer in another shape than the API's."""
    text = response.data if response.data is not None else b""
    try:
        answer = msgspec.json.decode(text)
    except msgspec.DecodeError:
        answer = None
    if not isinstance(answer, dict):
        answer = {"message": text[:200].decode(errors="replace")}
    return error_of(
        response.status,
        str(answer.get("reason", "")),
        f"{place}: {response.status} {answer.get('message', '')}".rstrip(),
        delay_seconds=_retry_after_seconds(response),
    )


def _retry_after_seconds(response: urllib3.BaseHTTPResponse) -> float:
    """Return how long an answer asks to wait; a default where it does not."""
    try:
        asked = float(response.headers.get("Retry-After", DEFAULT_DELAY_SECONDS))
    except ValueError:
        return DEFAULT_DELAY_SECONDS
    return min(max(asked, 0.1), MAX_RETRY_AFTER_SECONDS)
