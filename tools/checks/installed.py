"""What a user installs works by itself: run by `make wheel-test` in an environment with nothing but that.

Runs as a plain script in isolated mode, so it imports nothing of this repository. It proves that the packages come
from the environment and not from the working tree, and that each module imports with the declared dependencies
alone (an optional dependency may be missing, if the module belongs to an extra).
"""

import importlib
import pkgutil
import sys
import sysconfig
from importlib.metadata import entry_points
from pathlib import Path

PACKAGES = ("controller", "exporters", "forecasting", "inference")
# Import names that the extras of pyproject.toml bring.
OPTIONAL = {
    "PIL",
    "aiohttp",
    "bcrypt",
    "boto3",
    "botocore",
    "google",
    "grpc",
    "kubernetes",
    "limits",
    "matplotlib",
    "openfeature",
    "pynvml",
    "redis",
    "torch",
    "transformers",
    "urllib3",
}


def main(working_tree: str) -> int:
    """Import every module of the installed packages.

    Args:
        working_tree: the repository root, which must not be where anything comes from.

    Returns:
        The exit code.
    """
    site = Path(sysconfig.get_path("purelib")).resolve()
    problems: list[str] = []
    num_modules = 0
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in [name, *(info.name for info in pkgutil.walk_packages(package.__path__, f"{name}."))]:
            num_modules += 1
            problems += _problems_of(module, site)
    if any(Path(entry).resolve().is_relative_to(Path(working_tree).resolve()) for entry in sys.path if entry):
        problems.append(f"{working_tree} is on the import path")
    if not any(entry.name == "meltguard" for entry in entry_points(group="console_scripts")):
        problems.append("the command meltguard is not installed")
    for problem in problems:
        print(f"installed wheel: {problem}", file=sys.stderr)
    print(f"installed wheel: {num_modules} modules import from {site.name}", file=sys.stderr)
    return 1 if problems else 0


def _problems_of(module: str, site: Path) -> list[str]:
    if module.endswith("__main__"):
        return []  # importing it would run the program
    try:
        file = importlib.import_module(module).__file__
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        return [] if missing in OPTIONAL else [f"{module} needs {missing}, which no dependency brings"]
    if file is None or not Path(file).resolve().is_relative_to(site):
        return [f"{module} comes from {file}, not from the environment"]
    return []


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
