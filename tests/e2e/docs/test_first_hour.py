"""The newcomer's path is real: every command of docs/first-hour.md runs, in order, against a real API server."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kustomize import kubectl

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "first-hour.md"
BLOCK = re.compile(r"^```(?P<info>[a-z ]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_SECONDS = 110.0
RETRY_SECONDS = 60.0


@pytest.fixture
def terminal(own_control_plane, tmp_path):
    """Runs lines as a newcomer's shell would, in a folder that looks like the checkout."""
    for name in ("docs", "manifests"):
        (tmp_path / name).symlink_to(ROOT / name)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "kubectl").symlink_to(kubectl())
    (commands / "meltguard").symlink_to(Path(sys.executable).parent / "meltguard")
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "KUBECONFIG": str(own_control_plane.kubeconfig),
        "HOME": str(tmp_path),
    }
    background = []

    def run(line):
        shell = ["bash", "-euo", "pipefail", "-c", line]
        return subprocess.run(
            shell, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )

    def start(line):
        shell = ["bash", "-c", f"exec {line}"]
        errors = (tmp_path / "background.log").open("w")
        background.append((subprocess.Popen(shell, cwd=tmp_path, env=environment, stderr=errors), errors))

    yield run, start
    for process, errors in background:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        errors.close()


def run_again_until_done(run, line):
    """Run a line again while what it needs may still be on its way, within a bound."""
    until = time.monotonic() + RETRY_SECONDS
    while (done := run(line)).returncode != 0 and time.monotonic() < until:
        time.sleep(0.5)
    return done


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_command_of_the_first_hour_runs(terminal):
    """Each command succeeds, and what the page shows below it is in its output."""
    run, start = terminal
    said, num_commands = "", 0
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        info, text = block["info"].split(), block["text"]
        if info[0] == "text":
            for line in text.splitlines():
                assert line in said, f"not in the output: {line!r}\n{said}"
            continue
        if info[0] != "bash":
            continue
        said = ""
        for line in text.splitlines():
            num_commands += 1
            if "background" in info:
                start(line)
                continue
            done = run_again_until_done(run, line) if "retry" in info else run(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            said += done.stdout + done.stderr
    assert num_commands >= 10


def test_the_page_needs_nothing_that_is_not_here():
    """Files that the page names exist in the checkout, and bash is there to run it."""
    text = PAGE.read_text(encoding="utf-8")
    assert shutil.which("bash")
    for path in re.findall(r"-[fk] ((?:docs|manifests)/\S+)", text):
        assert (ROOT / path).exists(), path
