"""Time from the moment at which a GPU's margin is below its threshold until Alertmanager's webhook is there.

Real Prometheus with the shipped rules, real Alertmanager, loopback. Scrapes and rules run every second, the alert's
hold is taken away and groups are not waited for: what remains is the chain itself (scrape, recording rule, alert,
dispatch). The claim: a median of at most 1.5 s. Crossings come at random moments of the second.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.stub_exposition import StubExposition, running_stub
from tools.monitoring.catalogue import GROUPS
from tools.monitoring.model import Alert, Group
from tools.monitoring.recordings import EXPORTER_JOB
from tools.monitoring.render import dump_yaml, group_document
from tools.real_parts.servers import PrometheusServer, running_alertmanager, running_prometheus

ALERT = "GPUThermalMarginLow"
WAIT_SECONDS = 20.0


class Arrivals:
    """When the webhook first heard of each GPU."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.url = ""
        self._moments: dict[str, float] = {}
        self._changed = threading.Condition()

    def note(self, body: bytes) -> None:
        """Take note of a notification that is here now."""
        now = time.monotonic()
        with self._changed:
            for alert in json.loads(body)["alerts"]:
                if alert["labels"]["alertname"] == ALERT:
                    self._moments.setdefault(alert["labels"]["uuid"], now)
            self._changed.notify_all()

    def wait(self, uuid: str) -> float:
        """Return the moment, on the monotonic clock, at which a GPU's alert came."""
        with self._changed:
            if not self._changed.wait_for(lambda: uuid in self._moments, timeout=WAIT_SECONDS):
                raise TimeoutError(f"no notification for {uuid} within {WAIT_SECONDS:.0f} s")
            return self._moments[uuid]


@contextmanager
def running_webhook() -> Iterator[Arrivals]:
    """Run a receiver of notifications."""
    arrivals = Arrivals()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrivals.note(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    arrivals.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield arrivals
    finally:
        server.shutdown()
        server.server_close()


def rules_every(seconds: float) -> str:
    """Return the shipped rules in one file, evaluated every ``seconds``, the measured alert without its hold."""

    def at_once(group: Group) -> Group:
        rules = tuple(
            replace(rule, hold="") if isinstance(rule, Alert) and rule.name == ALERT else rule for rule in group.rules
        )
        return replace(group, interval=f"{round(seconds * 1000)}ms", rules=rules)

    return dump_yaml({"groups": [group_document(at_once(group)) for group in GROUPS]})


def cross(stub: StubExposition, arrivals: Arrivals, number: int) -> float:
    """Let one GPU's margin fall below the threshold and return the seconds until the webhook."""
    uuid = f"GPU-{number}"
    labels = f'region="eu",pool="h200",node="n1",gpu="{number}",uuid="{uuid}"'
    crossed = time.monotonic()
    stub.show({f"meltguard_gpu_thermal_margin_celsius{{{labels}}}": 3.0})
    return arrivals.wait(uuid) - crossed


def ready(prometheus: PrometheusServer) -> bool:
    """Say whether Prometheus scrapes and its rules have run."""
    return bool(prometheus.query("meltguard_rules:loaded:info")) and bool(prometheus.query("up == 1"))


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crossings", type=int, default=30, help="how often a margin crosses")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between scrapes, and between evaluations")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folders = [Path(name) / each for each in ("alertmanager", "prometheus")]
        for folder in folders:
            folder.mkdir()
        rules = Path(name) / "rules.yaml"
        rules.write_text(rules_every(options.interval), encoding="utf-8")
        stub = stack.enter_context(running_stub())
        arrivals = stack.enter_context(running_webhook())
        alertmanager = stack.enter_context(running_alertmanager(folders[0], webhook_url=arrivals.url))
        prometheus = stack.enter_context(
            running_prometheus(
                folders[1],
                rule_files=[rules],
                alertmanager_address=alertmanager.address,
                interval_seconds=options.interval,
            )
        )
        prometheus.scrape(stub.address, labels={"job": EXPORTER_JOB})
        end = time.monotonic() + WAIT_SECONDS
        while not ready(prometheus) and time.monotonic() < end:
            time.sleep(0.1)
        seconds = []
        for number in range(options.crossings):
            time.sleep(2.0 + moments.random())
            seconds.append(cross(stub, arrivals, number))
    seconds.sort()
    result = {
        "crossings": len(seconds),
        "interval_seconds": options.interval,
        "min_seconds": round(seconds[0], 2),
        "median_seconds": round(seconds[len(seconds) // 2], 2),
        "max_seconds": round(seconds[-1], 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
