import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.real_parts.processes import ChildProcess, MissingPartError, RealPartError, find_program

SLEEP = [sys.executable, "-c", "import time; print('asleep', flush=True); time.sleep(60)"]
REPOSITORY = Path(__file__).parents[2]
PARENT = f"""
import sys, time, pathlib
from tools.real_parts.processes import ChildProcess
child = ChildProcess("child", {SLEEP!r}, pathlib.Path(sys.argv[1]))
child.start(lambda: "asleep" in child.log_tail())
print(child.pid, flush=True)
time.sleep(60)
"""


def is_running(pid):
    """Whether a process exists and has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_server_that_does_not_get_ready_is_stopped(tmp_path):
    """After the bound the error shows what the server wrote, and the server is gone."""
    child = ChildProcess("sleeper", SLEEP, tmp_path)
    pids = []

    def never_ready():
        pids.append(child.pid)
        return False

    with pytest.raises(RealPartError, match="sleeper was not ready within 2 s\nasleep"):
        child.start(never_ready, timeout_seconds=2)

    assert child.pid is None
    assert not is_running(pids[0])


def test_a_server_that_ends_at_its_start_says_why(tmp_path):
    """The error comes at once and shows exit code and log."""
    child = ChildProcess("quitter", [sys.executable, "-c", "raise SystemExit('port taken')"], tmp_path)

    with pytest.raises(RealPartError, match="quitter ended with 1 at its start\nport taken"):
        child.start(lambda: False)


def test_a_killed_server_can_be_started_again(tmp_path):
    """A crash in a test is followed by a restart of the same process description."""
    child = ChildProcess("sleeper", SLEEP, tmp_path)
    child.start(lambda: "asleep" in child.log_tail())
    first = child.pid
    child.kill()
    assert not is_running(first)

    child.start(lambda: child.log_tail().count("asleep") == 2)

    assert child.pid not in (None, first)
    child.stop()
    assert child.pid is None


def test_no_server_outlives_a_killed_test_run(tmp_path, wait_until):
    """When the parent is killed without a chance to clean up, its servers end as well."""
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        child_pid = int(parent.stdout.readline())
        assert is_running(child_pid)

        os.kill(parent.pid, signal.SIGKILL)

        wait_until(lambda: not is_running(child_pid))


def test_a_missing_program_names_the_cure():
    """Whoever lacks a server reads what to run."""
    with pytest.raises(MissingPartError, match="make real-parts"):
        find_program("a-server-that-nobody-has")
