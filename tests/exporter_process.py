"""Starts a real exporter on loopback and reads what it serves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

START_SECONDS = 20.0
LAUNCH = "import typer; from exporters.cli import exporter; app = typer.Typer(); app.command()(exporter); app()"

Samples = dict[str, list[tuple[dict[str, str], float]]]


@dataclass
class ExporterProcess:
    """A running exporter."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of ``path``."""
        request = urllib.request.Request(self.address + path, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def samples(self) -> Samples:
        """Return the samples of one scrape by name."""
        found: Samples = {}
        for family in text_string_to_metric_families(self.get("/metrics")[2].decode()):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def gpus(self) -> dict[int, dict[str, Any]]:
        """Return ``/api/v1/gpus`` by GPU index."""
        return {gpu["gpu"]: gpu for gpu in json.loads(self.get("/api/v1/gpus")[2])["gpus"]}

    def reasons(self) -> dict[int, str]:
        """Return each GPU's state, ``ok`` or why it is down."""
        return {index: gpu["reason"] for index, gpu in self.gpus().items()}

    def wait(self, holds: Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait until ``holds``; a failed wait shows the log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds():
                return
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s; states {self.reasons()}; log:\n{self.log.read_text()}")

    def pids(self) -> dict[str, int]:
        """Return the process ids of the server's children by command-line order (collectors)."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {str(number): int(pid) for number, pid in enumerate(children)}


def running_states(num_gpus: int, **others: str) -> dict[int, str]:
    """Return states in which all GPUs are ``ok`` but for ``others``, named ``gpuN``."""
    return {index: others.get(f"gpu{index}", "ok") for index in range(num_gpus)}


@contextmanager
def running_exporter(
    *arguments: str, directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[ExporterProcess]:
    """Run ``meltguard exporter`` with ``arguments`` at a port of its choice; SIGTERM must end it with 0."""
    log = directory / "exporter.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, "--listen", "127.0.0.1:0", "--output", "json", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, f"the exporter did not start:\n{log.read_text()}"
            yield ExporterProcess(process=process, address=json.loads(line)["address"], log=log)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0, log.read_text()
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
                process.wait(timeout=10)
