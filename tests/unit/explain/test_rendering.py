"""What is explained is what a proxy is given: for every golden case and sidecar, each resource that is asked for is the one that is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from envoy import names, packing
from explain.resources import KINDS, Held, Resources, scope_key
from explain.world import World
from mesh.state import MeshState
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from tests.golden.test_goldens import cases, read
from tests.support.envoy_static import rendered


def different(state: MeshState) -> Iterator[str]:
    world = World.of(state)
    for key, workload in sorted(state.workloads.items()):
        if not workload.meshed and workload.gateway is None:
            continue
        held = world.resources(workload)
        for each in rendered(state, str(key)):
            if each.type_url not in KINDS or each.name.startswith("names"):
                continue  # secrets; and names, which no request asks for
            if each.name.startswith(names.DIRECT):
                continue  # whose an endpoint's own address is, `explain` does not know (docs/explain.md)
            message = KINDS[each.type_url].FromString(each.body)
            found: Held[Any] | None = _ask(held, each.type_url, each.name, message)
            if found is None or found.message != message:
                yield f"{key}: {each.type_url} {each.name}"


def _ask(held: Resources, type_url: str, name: str, message: Message) -> Held[Any] | None:
    if isinstance(message, ScopedRouteConfiguration):
        return held.scope(scope_key(message))
    ways: dict[str, Callable[[str], Held[Any] | None]] = {
        packing.LDS: held.listener,
        packing.RDS: held.routes,
        packing.CDS: held.cluster,
        packing.EDS: held.endpoints,
    }
    return ways[type_url](name)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_it_is_what_is_sent(case: Path) -> None:
    assert list(different(read(case))) == []
