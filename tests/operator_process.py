"""The real command `meltguard operator` as a child process."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

READY_SECONDS = 60.0


class OperatorProcess:
    """One replica.

    Args:
        kubeconfig: How it reaches the API.
        namespace: Whose policies it serves.
        prometheus: Where its metrics are.
        arguments: More options.
    """

    def __init__(self, kubeconfig: Path, namespace: str, prometheus: str, *arguments: str) -> None:
        """Start it and wait until it says its addresses."""
        command = [sys.executable, "-m", "controller", "operator", "--output", "json", "--listen", "127.0.0.1:0"]
        command += ["--sync-listen", "127.0.0.1:0", f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"]
        self._lines: queue.Queue[str] = queue.Queue(maxsize=100_000)
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            [*command, f"--prometheus={prometheus}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        tasks = (self._read_output, self._read_errors)
        self._readers = [threading.Thread(target=task, daemon=True) for task in tasks]
        for reader in self._readers:
            reader.start()
        try:
            self.listening = json.loads(self._lines.get(timeout=READY_SECONDS))
        except queue.Empty:
            self.kill()
            raise AssertionError("the operator did not become ready:\n" + "".join(self.errors[-20:])) from None

    def audit(self) -> list[bytes]:
        """Return the audit lines that were written so far."""
        found = []
        while not self._lines.empty():
            found.append(self._lines.get_nowait().encode())
        return found

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a page."""
        try:
            with urllib.request.urlopen(f"http://{self.listening['address']}{path}", timeout=5.0) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self) -> dict[str, Any]:
        """Return the status document."""
        document: dict[str, Any] = json.loads(self.get("/api/v1/status")[1])
        return document

    def terminate(self) -> int:
        """End it as Kubernetes does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self._wait()

    def _wait(self) -> int:
        code = self.process.wait(timeout=60.0)
        for reader in self._readers:
            reader.join(10.0)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)
            del self.errors[:-2000]
