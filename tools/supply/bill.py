"""Writes bills of materials (CycloneDX 1.6, JSON) from the lock files: `make sbom`.

The same lock gives the same bytes: the serial number is made from the content, and there is no time of making.
"""

from __future__ import annotations

import json
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

from tools.checks.repository import ROOT
from tools.supply.pins import ROOT_NAME, Pin, read_pins

LOCKS = ROOT / "locks"
FOLDER = ROOT / "build" / "sbom"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "meltguard.dev")


def bill(pins: tuple[Pin, ...], *, part: str, version: str) -> dict[str, Any]:
    """Return the bill of one lock file.

    Args:
        pins: Its packages.
        part: What it is for: `runtime`, `image-operator`, …
        version: Of meltguard.

    Returns:
        The document.
    """
    root = f"pkg:pypi/{ROOT_NAME}@{version}"
    named: dict[str, list[str]] = {ROOT_NAME: [root]}
    for pin in pins:
        named.setdefault(pin.name, []).append(reference_of(pin))
    children: dict[str, set[str]] = {reference: set() for references in named.values() for reference in references}
    for pin in pins:
        known = [reference for parent in pin.parents for reference in named.get(parent, ())]
        # What no other locked package asks for, the project itself does.
        for parent in known or [root]:
            children[parent].add(reference_of(pin))
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": ROOT_NAME,
                "version": version,
                "purl": root,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
            "properties": [{"name": "meltguard:lock", "value": part}],
        },
        "components": [
            {
                "type": "library",
                "bom-ref": reference_of(pin),
                "name": pin.name,
                "version": pin.version,
                "purl": reference_of(pin),
                "hashes": [{"alg": "SHA-256", "content": content} for content in pin.sha256],
            }
            for pin in pins
        ],
        "dependencies": [
            {"ref": reference, "dependsOn": sorted(depends)} for reference, depends in sorted(children.items())
        ],
    }
    content = json.dumps(document, sort_keys=True)
    return {**document, "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}"}


def reference_of(pin: Pin) -> str:
    """Return the address of a package among all packages (purl)."""
    return f"pkg:pypi/{pin.name}@{pin.version}"


def project_version() -> str:
    """Return the version in pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def write_bills(locks: Path, folder: Path) -> tuple[Path, ...]:
    """Write one bill a lock file.

    Args:
        locks: Folder of the lock files.
        folder: Where the bills go; made where it does not exist.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for lock in sorted(locks.glob("*.txt")):
        document = bill(read_pins(lock.read_text(encoding="utf-8")), part=lock.stem, version=project_version())
        path = folder / f"{lock.stem}.cdx.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        written.append(path)
    return tuple(written)


def main() -> int:
    """Write the bills and say where.

    Returns:
        The exit code.
    """
    for path in write_bills(LOCKS, FOLDER):
        num_components = len(json.loads(path.read_text(encoding="utf-8"))["components"])
        print(f"{path.relative_to(ROOT)}: {num_components} components", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
