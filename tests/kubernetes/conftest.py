"""Tests on a real Kubernetes: `make kubernetes` runs them, and `make test` leaves them out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes import cluster as clusters
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.line import Line, a_line

HERE = Path(__file__).parent
ALONE = int(os.environ.get("MESHWRIGHT_ALONE", "3"))
"""The number of the API server that a file of tests has for itself: another one for a second run beside the first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are marked, so that none is run by mistake where there is no cluster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The one cluster that all tests share, running: number 1, or N of the environment. Nobody skips: what is missing is built first."""
    return clusters.up(int(os.environ.get("N", "1")))


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Cluster:
    """The cluster with this tree's Meshwright on it, which stays there for the next run."""
    clusters.install(cluster)
    return cluster


@pytest.fixture(scope="module")
def alone() -> Iterator[Cluster]:
    """An API server without a node, for one file of tests: they may stop it, and nothing is in it before."""
    made = clusters.up(ALONE, node=False)
    try:
        yield made
    finally:
        clusters.down(made)


@pytest.fixture
async def line(alone: Cluster) -> AsyncIterator[Line]:
    """The way to `alone` that the client under test takes."""
    async with a_line(alone) as made:
        yield made
