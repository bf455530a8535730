"""Runs an operator until it is told to end. Called by ``meltguard operator``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from controller.errors import UsageError
from controller.operator.assembly import Connections, Copies, World, build_operator
from controller.operator.cluster_world import FlagStreams, cluster_world, start_sync_server
from controller.operator.kubernetes.access import open_access
from controller.operator.pages import operator_pages
from controller.operator.settings import OperatorSettings
from controller.operator.status_page import render_status_page
from controller.operator.web import WebServer, parse_listen
from controller.telemetry.metrics import ControllerMetrics

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE = "default"


def own_namespace() -> str:
    """Return the namespace of the pod that we run in; ``default`` outside a cluster."""
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE


def serve(settings: OperatorSettings, kubeconfig: Path | None, announce: Callable[[str, str], None]) -> None:
    """Run an operator until SIGTERM or SIGINT.

    Args:
        settings: How.
        kubeconfig: Where the API is; None to find out.
        announce: Told the addresses of web server and flag streams when both listen; the second is empty without one.

    Raises:
        UsageError: If a setting cannot be used.
    """
    if not settings.prometheus_url.startswith(("http://", "https://")):
        raise UsageError(f"--prometheus: {settings.prometheus_url!r} must start with http:// or https://")
    access = open_access(kubeconfig)
    metrics = ControllerMetrics()
    lock = threading.Lock()
    sync_address, sync_server = "", None
    if not settings.advisory:
        sync_server, port = start_sync_server(settings.sync_listen)
        sync_address = f"{parse_listen(settings.sync_listen, option='--sync-listen')[0]}:{port}"
    held: list[FlagStreams] = []

    def make_world(connections: Connections, copies: Copies) -> World:
        streams = FlagStreams(connections.main, sync_server, settings.namespace)
        held.append(streams)
        return cluster_world(settings, connections, copies, streams)

    def audit(lines: tuple[bytes, ...]) -> None:
        if not settings.audit_to_stdout:
            return
        with lock:
            sys.stdout.buffer.write(b"".join(lines))
            sys.stdout.buffer.flush()

    operator = build_operator(access, settings, make_world, audit, metrics)
    web = WebServer(settings.listen, operator_pages(operator, metrics, render_status_page))
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    web.start()
    operator.start()
    announce(web.address, sync_address)
    told.wait()
    structlog.get_logger().info("operator.stopping")
    operator.stop()
    for streams in held:
        streams.stop()
    if sync_server is not None:
        sync_server.stop()
    web.stop()
