"""The lock files satisfy pyproject.toml, pin with hashes and name no package index.

Run by `make check`, without a network. That the locked packages also satisfy one another is what the resolver
promised when it wrote the file, and `make wheel-test` asks pip again.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.checks.repository import ROOT, report

# docs/decisions/0003-lock-files.md says why; every other extra is locked.
UNLOCKED_EXTRAS = frozenset({"backtest", "hugging-face", "inference", "parquet"})
LOCKED_GROUPS = ("build", "test", "check")
CURE = "run `make lock`"

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)", re.MULTILINE)
_BLOCK = re.compile(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", re.MULTILINE | re.DOTALL)
# How the resolver notes that a package is asked for by the project itself, not by another package.
_DIRECT = re.compile(r"#\s+(?:via\s+)?meltguard \(")
_INDEX = re.compile(r"^\s*(--(extra-)?index-url|-i\b|--find-links|-f\b|.*://)", re.MULTILINE)


def direct_requirements(project: Mapping[str, object], *, for_development: bool) -> list[str]:
    """Collect what pyproject.toml asks for by name.

    Args:
        project: the parsed file.
        for_development: with the extras and the dependency groups, not only what every user installs.

    Returns:
        Requirements as they stand in the file.
    """
    table = project["project"]
    assert isinstance(table, dict)
    requirements: list[str] = list(table["dependencies"])
    if for_development:
        for extra in table["optional-dependencies"].keys() - UNLOCKED_EXTRAS:
            requirements += table["optional-dependencies"][extra]
        dependency_groups = project["dependency-groups"]
        assert isinstance(dependency_groups, dict)
        for group in LOCKED_GROUPS:
            requirements += dependency_groups[group]
    return requirements


def problems_of(name: str, lock: str, requirements: Iterable[str]) -> Iterator[str]:
    """Compare one lock file with the requirements that it has to satisfy.

    Args:
        name: the file's name, for the messages.
        lock: its text.
        requirements: what pyproject.toml asks for.

    Yields:
        One line per problem.
    """
    pins: dict[str, list[str]] = {}
    for pin in _PIN.finditer(lock):
        pins.setdefault(canonicalize_name(pin["name"]), []).append(pin["version"])
    asked = {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, requirements)}
    for package, requirement in sorted(asked.items()):
        if package not in pins:
            yield f"{name}: {requirement} of pyproject.toml is missing; {CURE}"
        for version in pins.get(package, ()):
            if not requirement.specifier.contains(version, prereleases=True):
                yield f"{name}: {package} {version} does not satisfy {requirement}; {CURE}"
    for block in _BLOCK.findall(lock):
        package = canonicalize_name(re.split(r"[=<>;@\s\[]", block, maxsplit=1)[0])
        if "--hash=sha256:" not in block:
            yield f"{name}: {package} has no hash; {CURE}"
        if _DIRECT.search(block) and package not in asked:
            yield f"{name}: {package} is no longer asked for by pyproject.toml; {CURE}"
    if index := _INDEX.search(lock):
        yield f"{name}: names where packages come from ({index.group().strip()[:40]}); {CURE}"


def main() -> int:
    """Check both lock files.

    Returns:
        The exit code.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked_by_lock: dict[Path, list[str]] = {
        Path("locks/development.txt"): direct_requirements(project, for_development=True),
        Path("locks/runtime.txt"): direct_requirements(project, for_development=False),
    }
    found: list[str] = []
    for path, requirements in asked_by_lock.items():
        found += problems_of(path.as_posix(), (ROOT / path).read_text(encoding="utf-8"), requirements)
    return report("locks", found)


if __name__ == "__main__":
    raise SystemExit(main())
