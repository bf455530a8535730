"""Renders overlays of `manifests/` with a current kubectl, for tests."""

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.real_parts.processes import find_newer_program

MANIFESTS = Path(__file__).parents[1] / "manifests"
OVERLAYS = ("local", "gpu", "eks")
WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet")


def kubectl() -> str:
    """Return the path of a current kubectl."""
    return find_newer_program("kubectl")


@functools.cache
def render(overlay: str) -> str:
    """Return what `kubectl kustomize manifests/overlays/OVERLAY` prints."""
    command = [kubectl(), "kustomize", str(MANIFESTS / "overlays" / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def objects(overlay: str) -> list[dict[str, Any]]:
    """Return the overlay's objects, parsed."""
    return [document for document in yaml.safe_load_all(render(overlay)) if document]


def workloads(overlay: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and pod specification of everything that runs pods."""
    for document in objects(overlay):
        if document["kind"] in WORKLOADS:
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]
