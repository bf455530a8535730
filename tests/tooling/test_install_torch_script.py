"""How torch comes to an environment, where nothing can be fetched."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "install_torch.sh"


@pytest.fixture
def bring(tmp_path):
    """Run the script with a Python that has neither torch nor pip, on a path without uv."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "uname"):
        (tools / name).symlink_to(
            next(path / name for path in (Path("/usr/bin"), Path("/bin")) if (path / name).exists())
        )
    calls = tmp_path / "calls"
    python = tools / "python"
    python.write_text(
        "#!/usr/bin/env bash\n"
        f'printf "%s\\n" "$*" >>{calls}\n'
        'case "$*" in\n'
        '  "-c import torch") exit "${TORCH_STATUS:-1}" ;;\n'
        f'  *_base_executable*) printf "%s" {python} ;;\n'
        '  "-m pip --version") exit 1 ;;\n'
        '  "-m pip install"*) exit 0 ;;\n'
        "  *) exit 1 ;;\n"
        "esac\n"
    )
    python.chmod(0o755)

    def run(**variables):
        environment = {"PATH": str(tools), "HOME": str(tmp_path)} | variables
        found = subprocess.run(
            ["bash", SCRIPT, python], env=environment, check=False, capture_output=True, text=True, timeout=60
        )
        return found, calls.read_text() if calls.exists() else ""

    return run


def test_what_is_there_is_left_alone(bring):
    """An environment with torch is not touched."""
    found, calls = bring(TORCH_STATUS="0")

    assert (found.returncode, found.stderr) == (0, "")
    assert "install" not in calls


def test_nothing_is_brought_to_whom_wants_none(bring):
    """MELTGUARD_TORCH=none brings nothing and says nothing."""
    found, calls = bring(MELTGUARD_TORCH="none")

    assert (found.returncode, found.stderr) == (0, "")
    assert "install" not in calls


def test_the_cuda_build_is_not_taken_unasked(bring):
    """Outside CI a Linux machine without a CPU build goes without, and the message names the way out."""
    found, calls = bring()

    assert found.returncode == 0
    assert "MELTGUARD_TORCH=any" in found.stderr
    assert "install" not in calls


def test_an_image_for_gpus_takes_the_cuda_build_at_once(bring):
    """MELTGUARD_TORCH=cuda asks nobody for a CPU build first."""
    found, calls = bring(MELTGUARD_TORCH="cuda")

    assert found.returncode == 0
    assert "-m pip install" in calls
    assert "+cpu" not in calls


@pytest.mark.parametrize("variables", [{"CI": "true"}, {"MELTGUARD_TORCH": "any"}])
def test_ci_takes_the_default_build_rather_than_leave_tests_out(bring, variables):
    """In CI, and where it is asked for, the default build is the last resort, and the run says what it costs."""
    found, calls = bring(**variables)

    assert found.returncode == 0
    assert "three gigabytes" in found.stderr
    assert "-m pip install" in calls
