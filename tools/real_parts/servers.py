"""Prometheus, Alertmanager and Redis as child processes on loopback."""

import json
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.real_parts.processes import LOOPBACK, ChildProcess, RealPartError, answers_http, find_program, free_port

HTTP_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PrometheusServer:
    """A running Prometheus.

    Attributes:
        process: the server, to kill, suspend or restart.
        url: its address, without a slash at the end.
        directory: its folder; `targets.json` in it says what is scraped.
    """

    process: ChildProcess
    url: str
    directory: Path

    def scrape(self, *addresses: str, labels: Mapping[str, str] | None = None) -> None:
        """Replace what is scraped; takes effect within a second.

        Args:
            *addresses: `host:port` of servers with `/metrics`.
            labels: labels added to every series.
        """
        self.scrape_groups({addresses: labels or {}} if addresses else {})

    def scrape_groups(self, groups: Mapping[tuple[str, ...], Mapping[str, str]]) -> None:
        """Replace what is scraped by several groups; takes effect within a second.

        Args:
            groups: labels added to every series, `job` included where given, by `host:port` of the group's servers.
        """
        documents = [{"targets": list(addresses), "labels": dict(labels)} for addresses, labels in groups.items()]
        staged = self.directory / "targets.json.new"
        staged.write_text(json.dumps(documents), encoding="utf-8")
        staged.rename(self.directory / "targets.json")

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Evaluate an expression now.

        Args:
            promql: the expression.

        Returns:
            The vector: dictionaries with `metric` and `value`.
        """
        return self._get("query", {"query": promql})

    def query_range(self, promql: str, *, start: float, end: float, step_seconds: float) -> list[dict[str, Any]]:
        """Evaluate an expression over a range of time.

        Args:
            promql: the expression.
            start: first instant, Unix seconds.
            end: last instant, Unix seconds.
            step_seconds: distance of instants, above 0.

        Returns:
            The matrix: dictionaries with `metric` and `values`.
        """
        return self._get("query_range", {"query": promql, "start": start, "end": end, "step": step_seconds})

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        found: list[dict[str, Any]] = _get_json(f"{self.url}/api/v1/alerts")["data"]["alerts"]
        return found

    def exemplars(self, promql: str) -> list[dict[str, Any]]:
        """Return the exemplars of the last hour that an expression's series hold.

        Args:
            promql: the expression.

        Returns:
            Dictionaries with `seriesLabels` and `exemplars`; empty unless the server stores any.
        """
        now = time.time()
        query = urllib.parse.urlencode({"query": promql, "start": now - 3600, "end": now + 60})
        found: list[dict[str, Any]] = _get_json(f"{self.url}/api/v1/query_exemplars?{query}")["data"]
        return found

    def reload(self) -> None:
        """Make Prometheus read its configuration and rules again."""
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")
        urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_SECONDS).close()

    def _get(self, endpoint: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
        answer = _get_json(f"{self.url}/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@contextmanager
def running_prometheus(
    directory: Path,
    *,
    rule_files: Sequence[Path] = (),
    alertmanager_address: str | Sequence[str] | None = None,
    interval_seconds: float = 0.5,
    honor_labels: bool = False,
    arguments: Sequence[str] = (),
) -> Iterator[PrometheusServer]:
    """Start Prometheus and stop it at the end.

    Args:
        directory: an empty folder.
        rule_files: alerting and recording rules, absolute paths or patterns of them.
        alertmanager_address: `host:port` to send alerts to, several of them, or None.
        interval_seconds: how often it scrapes and evaluates rules.
        honor_labels: whether a server's own labels win over those of `scrape`, as our monitors have it.
        arguments: more arguments of the command.

    Yields:
        The server, which scrapes nothing until told to.

    Raises:
        MissingPartError: if Prometheus is not installed.
        RealPartError: if it does not start.
    """
    program = find_program("prometheus")
    interval = f"{round(interval_seconds * 1000)}ms"
    targets = [alertmanager_address] if isinstance(alertmanager_address, str) else list(alertmanager_address or ())
    alertmanagers = [{"static_configs": [{"targets": targets}]}] if targets else []
    configuration = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(path) for path in rule_files],
        "alerting": {"alertmanagers": alertmanagers},
        "scrape_configs": [
            {
                "job_name": "test",
                "honor_labels": honor_labels,
                "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}],
            }
        ],
    }
    # Every JSON document is a YAML document.
    (directory / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
    address = f"{LOOPBACK}:{free_port()}"
    command = [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.enable-lifecycle"]
    process = ChildProcess("prometheus", [*command, *arguments, f"--web.listen-address={address}"], directory)
    server = PrometheusServer(process=process, url=f"http://{address}", directory=directory)
    server.scrape()
    try:
        process.start(lambda: answers_http(f"{server.url}/-/ready"))
        yield server
    finally:
        process.stop()


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertmanagerServer:
    """A running Alertmanager.

    Attributes:
        process: the server, to kill, suspend or restart.
        url: its address, without a slash at the end.
        address: the same as `host:port`, as Prometheus wants it.
    """

    process: ChildProcess
    url: str
    address: str

    def post_alerts(self, alerts: Sequence[Mapping[str, object]]) -> None:
        """Send alerts as Prometheus does.

        Args:
            alerts: each with `labels`, and optionally `annotations`, `startsAt`, `endsAt`.
        """
        body = json.dumps(list(alerts)).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", data=body, headers=headers, method="POST")
        urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_SECONDS).close()

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it knows, with the state (`active` or `suppressed`) of each."""
        found: list[dict[str, Any]] = _get_json(f"{self.url}/api/v2/alerts")
        return found


@contextmanager
def running_alertmanager(
    directory: Path, *, webhook_url: str, configuration: Mapping[str, object] | None = None
) -> Iterator[AlertmanagerServer]:
    """Start Alertmanager and stop it at the end.

    Args:
        directory: an empty folder.
        webhook_url: where it posts every notification, without waiting for more of a group.
        configuration: another configuration, in place of the one that posts everything to `webhook_url`.

    Yields:
        The server.

    Raises:
        MissingPartError: if Alertmanager is not installed.
        RealPartError: if it does not start.
    """
    program = find_program("prometheus-alertmanager", "alertmanager")
    configuration = configuration or {
        "route": {
            "receiver": "test",
            "group_by": ["alertname"],
            "group_wait": "10ms",
            "group_interval": "100ms",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "test", "webhook_configs": [{"url": webhook_url, "send_resolved": True}]}],
    }
    (directory / "alertmanager.yml").write_text(json.dumps(configuration), encoding="utf-8")
    address = f"{LOOPBACK}:{free_port()}"
    command = [program, "--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="]
    process = ChildProcess("alertmanager", [*command, f"--web.listen-address={address}"], directory)
    try:
        process.start(lambda: answers_http(f"http://{address}/-/ready"))
        yield AlertmanagerServer(process=process, url=f"http://{address}", address=address)
    finally:
        process.stop()


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisServer:
    """A running Redis, in memory only.

    Attributes:
        process: the server, to kill, suspend or restart.
        host: loopback.
        port: its TCP port.
    """

    process: ChildProcess
    host: str
    port: int

    @property
    def url(self) -> str:
        """Address as clients take it, database 0."""
        return f"redis://{self.host}:{self.port}/0"

    def command(self, *words: str) -> str:
        """Send one command and return the raw reply, at most 64 KiB of it.

        Args:
            *words: the command and its arguments.

        Returns:
            The reply in Redis's own protocol.

        Raises:
            RealPartError: if the server ends the connection without a reply.
        """
        parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
        with socket.create_connection((self.host, self.port), timeout=HTTP_TIMEOUT_SECONDS) as connection:
            connection.sendall("".join(parts).encode())
            reply = connection.recv(65536).decode()
        if not reply:
            raise RealPartError(f"redis-server on port {self.port} closed the connection without a reply")
        return reply


@contextmanager
def running_redis(directory: Path) -> Iterator[RedisServer]:
    """Start Redis and stop it at the end.

    Args:
        directory: an empty folder.

    Yields:
        The server, empty.

    Raises:
        MissingPartError: if Redis is not installed.
        RealPartError: if it does not start.
    """
    program = find_program("redis-server", "valkey-server")
    port = free_port()
    settings = {"port": str(port), "bind": LOOPBACK, "save": "", "appendonly": "no", "dir": str(directory)}
    command = [program, *(word for key, value in settings.items() for word in (f"--{key}", value))]
    process = ChildProcess("redis", command, directory)
    server = RedisServer(process=process, host=LOOPBACK, port=port)
    try:
        process.start(lambda: _answers_ping(server))
        yield server
    finally:
        process.stop()


def _answers_ping(server: RedisServer) -> bool:
    try:
        return server.command("PING") == "+PONG\r\n"
    except (OSError, RealPartError):
        return False


def _get_json(url: str) -> Any:  # the shape is Prometheus's; callers narrow it
    with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_SECONDS) as response:
        return json.load(response)
