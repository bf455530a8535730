"""What the operator's web server serves: metrics, probes, and the status as JSON and as a plain page."""

from __future__ import annotations

import html
from collections.abc import Callable

from controller.operator.operator import Operator
from controller.operator.status_view import StatusView
from controller.operator.web import Page, Pages
from controller.planning.documents import encode_document
from controller.telemetry.metrics import ControllerMetrics

JSON = "application/json"
HTML = "text/html; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


def operator_pages(
    operator: Operator, metrics: ControllerMetrics, render_status: Callable[[StatusView], bytes] | None = None
) -> Pages:
    """Return the pages of an operator.

    Args:
        operator: What they show.
        metrics: Its metrics.
        render_status: Makes the page at ``/``; None shows a plain list.

    Returns:
        Pages by path.
    """

    def healthy() -> Page:
        trouble = operator.alive()
        return Page(body=f"{trouble or 'ok'}\n".encode(), status=503 if trouble else 200)

    def ready() -> Page:
        missing = operator.missing()
        text = "\n".join(missing) or ("leading" if operator.is_leading else "standing by")
        return Page(body=f"{text}\n".encode(), status=503 if missing else 200)

    def status() -> Page:
        return Page(body=encode_document(operator.status()) + b"\n", content_type=JSON)

    def front() -> Page:
        view = operator.status()
        body = plain_page(view) if render_status is None else render_status(view)
        return Page(body=body, content_type=HTML)

    return {
        "/": front,
        "/api/v1/status": status,
        "/metrics": lambda: Page(body=metrics.render(), content_type=METRICS),
        "/healthz": healthy,
        "/livez": healthy,
        "/readyz": ready,
    }


def plain_page(view: StatusView) -> bytes:
    """Return the status as a plain page."""
    rows = "".join(f"<li>{html.escape(policy.name)}: {html.escape(policy.doing)}</li>" for policy in view.policies)
    return (
        "<!doctype html><html lang='en'><title>meltguard</title><h1>meltguard</h1>"
        f"<ul>{rows}</ul><p><a href='/api/v1/status'>status</a> <a href='/metrics'>metrics</a></p></html>"
    ).encode()
