"""Tests on a real Kubernetes: `make kubernetes` runs them, and `make test` leaves them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.kubernetes import cluster as clusters
from tests.support.kubernetes.cluster import Cluster

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are marked, so that none is run by mistake where there is no cluster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The one cluster that all tests share, running. Nobody skips: what is missing is built first."""
    return clusters.up()


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Cluster:
    """The cluster with this tree's Meshwright on it, which stays there for the next run."""
    clusters.install()
    return cluster
