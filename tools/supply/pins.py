"""Reads a lock file: which packages it pins, with which hashes, and who asks for each. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BLOCK = re.compile(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", re.MULTILINE | re.DOTALL)
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PARENT = re.compile(r"^\s+#\s+(?:via\s+)?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\(.*\))?$", re.MULTILINE)
ROOT_NAME = "meltguard"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """One locked package.

    Attributes:
        name: Its normalised name.
        version: Its version.
        sha256: Hashes of the archives that may be installed.
        parents: Names of the packages that ask for it; `meltguard` for the project itself.
    """

    name: str
    version: str
    sha256: tuple[str, ...]
    parents: tuple[str, ...]


def normalised(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> tuple[Pin, ...]:
    """Return the packages of a lock file.

    Args:
        text: The file: requirements with hashes, and `# via` comments.

    Returns:
        The packages, by name.

    Raises:
        ValueError: If a block is no pin, or one has no hash.
    """
    found: dict[tuple[str, str], Pin] = {}
    for block in _BLOCK.findall(text):
        pin = _PIN.match(block)
        hashes = tuple(_HASH.findall(block))
        if pin is None or not hashes:
            raise ValueError(f"lock: not a pin with hashes: {block.splitlines()[0]!r}; run `make lock`")
        parents = {normalised(name) for name in _PARENT.findall(block)} - {"via"}
        key = (normalised(pin["name"]), pin["version"])
        # A package may stand there once for each version of Python, with the same version of its own or another.
        if same := found.get(key):
            hashes, parents = (*hashes, *same.sha256), parents | set(same.parents)
        found[key] = Pin(name=key[0], version=key[1], sha256=tuple(sorted(set(hashes))), parents=tuple(sorted(parents)))
    return tuple(found[key] for key in sorted(found))
