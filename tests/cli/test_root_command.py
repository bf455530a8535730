"""The root of the command line: every command of the contract, shared options, and errors in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import one_error_line, run_meltguard

CONTRACT_COMMANDS = {
    "demo",
    "forecast",
    "backtest",
    "thermal",
    "plan",
    "replay",
    "explain",
    "exporter",
    "operator",
    "serve",
    "load",
    "pause",
    "resume",
    "approve",
    "limit",
    "lift",
    "report",
    "init",
    "doctor",
}


def test_help_lists_every_command_of_the_contract() -> None:
    """Each command of the contract stands in ``--help``."""
    result = run_meltguard("--help")
    assert result.returncode == 0
    listed = {line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert listed >= CONTRACT_COMMANDS


def test_help_does_not_import_what_is_heavy() -> None:
    """The root reads signatures only: numpy, yaml and rich stay out until a command needs them."""
    code = (
        "import sys; from controller.cli.main import build_app; build_app(); "
        "print([name for name in ('numpy', 'yaml', 'rich', 'statsmodels', 'msgspec') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60.0, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unknown_command_is_a_usage_error() -> None:
    """An unknown command exits 2."""
    assert run_meltguard("melt").returncode == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("demo:\n  sed: 3\n", "demo.sed is not an option; known: output, policy, report, seed"),
        ("- demo\n", "the top level must be a mapping"),
        ("demo: 3\n", "demo must be a mapping"),
        ("demo: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_configuration_file_names_the_place(tmp_path: Path, text: str, says: str) -> None:
    """A configuration that cannot be used exits 2 and names file and field."""
    path = tmp_path / "meltguard.yaml"
    path.write_text(text)
    result = run_meltguard("demo", "--config", str(path))
    assert result.returncode == 2
    line = one_error_line(result)
    assert str(path) in line
    assert says in line


def test_a_missing_configuration_file_is_one_line(tmp_path: Path) -> None:
    """A file that does not exist exits 2."""
    result = run_meltguard("demo", "--config", str(tmp_path / "none.yaml"))
    assert result.returncode == 2
    assert "No such file" in one_error_line(result)


def test_the_order_of_precedence(tmp_path: Path) -> None:
    """Command line beats environment, environment beats the file, the file beats the default."""
    path = tmp_path / "meltguard.yaml"
    path.write_text("replay:\n  policy: from-file\n")
    file_only = run_meltguard("replay", "march-2025", "--config", str(path))
    variables = {"MELTGUARD_REPLAY__POLICY": "from-environment"}
    environment = run_meltguard("replay", "march-2025", "--config", str(path), variables=variables)
    line = run_meltguard("replay", "march-2025", "--config", str(path), "--policy", "from-line", variables=variables)
    assert "'from-file' is not a policy" in one_error_line(file_only)
    assert "'from-environment' is not a policy" in one_error_line(environment)
    assert "'from-line' is not a policy" in one_error_line(line)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("replay",), "SCENARIO is missing"),
        (("replay", "no-such"), "no scenario 'no-such'; give a file, or one of: "),
        (("replay", "march-2025", "--policy", ","), "is not a policy; known: none"),
        (("replay", "march-2025", "--duration", "2000000h"), "--duration"),
        (("replay", "march-2025", "--start", "2019-11-08T00:00Z"), "name its sign-ups with --signups"),
        (("replay", "./missing.yaml"), "cannot be read (No such file or directory)"),
        (("replay", "march-2025", "--signups", "missing.csv"), "missing.csv"),
    ],
)
def test_wrong_arguments_of_replay_are_one_line(arguments: tuple[str, ...], says: str) -> None:
    """Arguments that cannot be used exit 2 with one line that names the cure."""
    result = run_meltguard(*arguments)
    assert result.returncode == 2
    assert says in one_error_line(result)


def test_the_example_scenario_can_be_replayed(tmp_path: Path) -> None:
    """What ``--example`` prints is a scenario file that ``replay`` reads."""
    path = tmp_path / "example.yaml"
    path.write_text(run_meltguard("replay", "--example").stdout)
    result = run_meltguard("replay", str(path), "--duration", "10m", "--policy", "none")
    assert result.returncode == 0, result.stderr
    assert "Hottest GPU" in result.stdout
