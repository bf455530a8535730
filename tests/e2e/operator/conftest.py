"""Fixtures of the operator's tests against a real API."""

import pytest

from tests.operator_cluster import cluster_of


@pytest.fixture
def cluster(control_plane, tmp_path):
    """A namespace of its own with the custom resources installed."""
    with cluster_of(control_plane, tmp_path) as running:
        yield running
