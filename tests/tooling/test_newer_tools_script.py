import os
import subprocess
from pathlib import Path

import pytest

from tools.real_parts.processes import find_newer_program

SCRIPT = Path(__file__).parents[2] / "tools" / "fetch_newer_tools.sh"
COMMANDS = ("bash", "dirname", "flock", "mkdir", "mktemp", "rm")


def fetch(tmp_path, *arguments, **variables):
    """Run the script where nothing can be fetched: no apt-get on PATH, an empty cache."""
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    for name in COMMANDS:
        if not (tools / name).exists():
            (tools / name).symlink_to(
                next(path for path in (Path("/usr/bin") / name, Path("/bin") / name) if path.exists())
            )
    environment = {"PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)} | variables
    return subprocess.run(
        ["bash", SCRIPT, *arguments], env=environment, check=False, capture_output=True, text=True, timeout=60
    )


def test_an_own_folder_comes_first(tmp_path):
    """MELTGUARD_NEWER_TOOLS is used as it is, and nothing is fetched."""
    found = fetch(tmp_path, MELTGUARD_NEWER_TOOLS="/opt/tools")

    assert (found.returncode, found.stdout.strip()) == (0, "/opt/tools")


def test_a_filled_cache_needs_no_network(tmp_path):
    """What an earlier run unpacked is found again."""
    folder = tmp_path / "cache" / "meltguard" / "newer-tools" / "forky"
    folder.mkdir(parents=True)
    for name in ("promtool", "prometheus", "kubectl"):
        (folder / name).touch(mode=0o755)

    found = fetch(tmp_path, "--cached")

    assert (found.returncode, found.stdout.strip()) == (0, str(folder))


def test_without_a_debian_the_cure_is_named(tmp_path):
    """Where apt-get is missing, the message names the variable that a person can set."""
    found = fetch(tmp_path)

    assert found.returncode == 1
    assert "set MELTGUARD_NEWER_TOOLS" in found.stderr


def test_looking_in_an_empty_cache_fetches_nothing(tmp_path):
    """With --cached nothing is downloaded or made."""
    found = fetch(tmp_path, "--cached")

    assert (found.returncode, found.stdout) == (1, "")
    assert not (tmp_path / "cache").exists()


@pytest.mark.real_parts
@pytest.mark.parametrize(("name", "expected"), [("promtool", "version 3."), ("prometheus", "version 3.")])
def test_the_fetched_programs_are_new(name, expected):
    """What was fetched is Prometheus 3, which the host's Debian does not have."""
    program = find_newer_program(name)

    shown = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=60)

    assert os.access(program, os.X_OK)
    assert expected in shown.stdout
