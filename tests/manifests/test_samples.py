import subprocess

import pytest
import yaml

from controller.operator.resources.parse import parse_policy_spec, parse_pool
from controller.types import Mode
from tests.kustomize import MANIFESTS, kubectl
from tests.operator_cluster import cluster_of

SAMPLES = sorted((MANIFESTS / "samples").glob("*.yaml"))


def documents(path):
    """The objects of a sample."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_keeps_every_rule(path):
    """The operator parses every sample, and every policy begins in advisory mode."""
    parsers = {"GPUPool": parse_pool, "SurgePolicy": parse_policy_spec}
    parsed = [parsers[document["kind"]](document) for document in documents(path)]

    assert len(parsed) >= 2
    assert all(spec.mode is Mode.ADVISORY for spec in parsed if hasattr(spec, "mode"))


@pytest.mark.real_parts
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_the_api_server_takes_a_sample(path, control_plane, tmp_path):
    """A real API server accepts every sample with the definitions of this version."""
    command = [kubectl(), "--kubeconfig", str(control_plane.kubeconfig), "apply", "--validate=ignore"]
    with cluster_of(control_plane, tmp_path) as cluster:
        text = path.read_text(encoding="utf-8").replace(
            "namespace: meltguard-system", f"namespace: {cluster.namespace}"
        )
        shown = subprocess.run(
            [*command, "-f", "-"], input=text, check=False, capture_output=True, text=True, timeout=60
        )

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("created") == len(documents(path))
