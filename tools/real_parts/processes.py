"""Child processes that start within a bound, say why when they do not, and never outlive their parent."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
NEWER_TOOLS_SCRIPT = Path(__file__).resolve().parents[1] / "fetch_newer_tools.sh"
POLL_SECONDS = 0.05
STOP_GRACE_SECONDS = 10.0
LOG_TAIL_LINES = 25

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class RealPartError(Exception):
    """A real server could not be started or reached; the message names it and shows the end of its log."""


class MissingPartError(RealPartError):
    """A program is not installed; the message says how to get it."""


def find_program(*names: str) -> str:
    """Find a program under any of its names.

    Args:
        *names: commands to look for on PATH, the preferred one first.

    Returns:
        Its path.

    Raises:
        MissingPartError: if none is there.
    """
    for name in names:
        # Debian keeps some servers where only root's PATH leads.
        if found := shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin"):
            return found
    raise MissingPartError(f"{names[0]} is not installed; run `make real-parts`, which says what it needs")


def find_newer_program(name: str) -> str:
    """Find a program that the host has too old or not at all: Prometheus 3, promtool 3, kubectl.

    Args:
        name: `prometheus`, `promtool` or `kubectl`.

    Returns:
        Its path.

    Raises:
        MissingPartError: if it has not been fetched, or cannot be.
    """
    found = subprocess.run([NEWER_TOOLS_SCRIPT, "--cached"], capture_output=True, text=True, check=False, timeout=60)
    program = Path(found.stdout.strip()) / name
    if found.returncode != 0 or not program.is_file():
        raise MissingPartError(f"a newer {name} is not here; run `make real-parts`, which says what it needs")
    return str(program)


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens on now.

    Another process may take it before its server does; then that server's start fails and says so.
    """
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def answers_http(url: str, *, timeout_seconds: float = 2.0) -> bool:
    """Say whether an HTTP server answers with a success.

    Args:
        url: the address to get.
        timeout_seconds: bound of the attempt, above 0.

    Returns:
        True for a status of 200 to 299.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds) as response:
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError):
        return False


class ChildProcess:
    """One server process: may be started, killed and started again, as tests of crashes do."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ):
        """Describe the process; `start` runs it.

        Args:
            name: what messages call it, and the stem of its log file.
            command: program and arguments.
            directory: working folder, existing; the log is written here.
            environment: variables added to our own.
            output: file that standard output is appended to; None sends it to the log with the errors.
        """
        self.name = name
        self.command = list(command)
        self.directory = directory
        self.log_path = directory / f"{name}.log"
        self._output = output
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, is_ready: Callable[[], bool], *, timeout_seconds: float = 30.0) -> None:
        """Run the process and wait until it is ready for use.

        Args:
            is_ready: asked every 50 ms; must be bounded itself.
            timeout_seconds: bound of the start, above 0.

        Raises:
            RealPartError: if the process ends or is not ready in time; it is stopped then.
        """
        with self.log_path.open("ab") as log, (self._output or self.log_path).open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                preexec_fn=_die_with_parent,
                start_new_session=True,  # Ctrl-C ends the parent, which ends its children in order
            )
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RealPartError(
                    f"{self.name} ended with {self._process.returncode} at its start\n{self.log_tail()}"
                )
            if is_ready():
                return
            time.sleep(POLL_SECONDS)
        self.stop()
        raise RealPartError(f"{self.name} was not ready within {timeout_seconds:.0f} s\n{self.log_tail()}")

    def kill(self) -> None:
        """End the process at once, as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process in order (SIGTERM), with force after ten seconds. Does nothing when it has ended."""
        self._end(signal.SIGTERM)

    def suspend(self) -> None:
        """Freeze the process, so that its peers see a server that hangs (SIGSTOP)."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw a frozen process (SIGCONT)."""
        self._send(signal.SIGCONT)

    def log_tail(self) -> str:
        """Return the last lines of what the process wrote."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._send(number)
        self._send(signal.SIGCONT)  # a frozen process would not see the other signal
        try:
            self._process.wait(timeout=STOP_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=STOP_GRACE_SECONDS)
        self._process = None


def _die_with_parent() -> None:
    # Runs between fork and exec: only the one call, no allocation that could deadlock.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
