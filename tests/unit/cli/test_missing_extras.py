import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from controller.cli.main import EXTRAS

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize(
    ("package", "arguments"),
    [("urllib3", ["explain", "last", "--live"]), ("kubernetes", ["explain", "last", "--live"])],
)
def test_a_missing_extra_is_named(package, arguments):
    """Without an optional package a command says in one line which extra brings it."""
    program = f"import sys; sys.modules[{package!r}] = None; from controller.cli.main import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True, timeout=60
    )

    assert shown.returncode == 1
    assert shown.stderr == f"meltguard: error: {package} is not installed; pip install 'meltguard[{EXTRAS[package]}]'\n"


def test_every_named_extra_exists():
    """No error names an extra that the distribution does not have."""
    assert set(EXTRAS.values()) <= PROJECT["optional-dependencies"].keys()
