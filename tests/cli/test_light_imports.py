import subprocess
import sys

HEAVY = {"kubernetes", "matplotlib", "msgspec", "numpy", "pandas", "prometheus_client", "scipy", "statsmodels", "torch"}


def test_the_command_line_loads_nothing_heavy():
    """Loading every command's signature loads no package that would make `--help` slow."""
    program = "import sys, controller.cli.main as main; main.build_app(); print(*sorted(sys.modules))"

    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout

    assert HEAVY & set(loaded.split()) == set()
