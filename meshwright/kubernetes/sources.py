"""The clusters of the settings as sources of services."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator

from discovery.kubernetes import KubernetesSource
from kube.client import Cluster
from meshwright.kubernetes.composition import Opened


def sources(opened: Opened) -> Iterator[KubernetesSource]:
    """In the order of the settings."""
    for each in (opened.settings, *opened.settings.others):
        yield KubernetesSource(
            each.name,
            lambda cluster=opened.clusters[each.name]: _held(cluster),  # type: ignore[misc]
            namespaces=each.namespaces,
            clock=time.monotonic,
            random=random.random,
        )


def _held(cluster: Cluster) -> contextlib.AbstractAsyncContextManager[Cluster]:
    """The program has opened it, and closes it."""
    return contextlib.nullcontext(cluster)
