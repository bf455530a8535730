import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SUITE = """
import pytest

def test_passes():
    pass

@pytest.mark.gpu
def test_of_a_gpu():
    pytest.skip("no such device")

@pytest.mark.recorded_data
def test_of_recorded_data():
    pytest.skip("nothing recorded")
"""
FORBIDDEN = """
def test_that_gives_up():
    pytest.skip("did not feel like it")
"""


def run_pytest(folder, source, ci):
    (folder / "conftest.py").write_text((REPOSITORY / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (folder / "test_suite.py").write_text(source)
    environment = {key: value for key, value in os.environ.items() if key not in {"CI", "HYPOTHESIS_PROFILE"}}
    if ci:
        environment["CI"] = "true"
    command = [sys.executable, "-m", "pytest", "-c", REPOSITORY / "pyproject.toml", "--rootdir", folder, folder]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=REPOSITORY,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize(
    ("source", "ci", "exit_code"),
    [(SUITE, True, 0), (SUITE + FORBIDDEN, False, 0), (SUITE + FORBIDDEN, True, 1)],
    ids=["allowed skips in CI", "any skip elsewhere", "another skip in CI"],
)
def test_in_ci_only_gpu_and_recorded_data_may_be_left_out(tmp_path, source, ci, exit_code):
    """A skip for any reason but a GPU or recorded data fails a run in CI, and no run elsewhere."""
    run = run_pytest(tmp_path, source, ci)

    assert run.returncode == exit_code, run.stdout + run.stderr
    assert "1 x no such device" in run.stdout or "1 x no GPU here" in run.stdout
    assert ("may not be in CI" in run.stdout) == (exit_code == 1)
