"""A single resource with stand-ins around it: Envoy takes each of a mesh so, one by one, and refuses one that is wrong for itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ca.times import system_clock
from envoy.alone import TRIED
from envoy.render import Rendered
from mesh.state import MeshState
from meshwright.quarantine.trial import Envoys, Neighbours
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from tests.support import binaries
from tests.support.builders import a_service, a_state, a_workload
from tests.support.envoy_static import rendered
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE


def a_mesh() -> MeshState:
    return a_state(
        a_service("api"),
        a_service("web"),
        a_workload("api-1", meshed=True, sidecar=15006),
        a_workload("web-1", meshed=True, sidecar=15007, uses=["api"]),
    )


@pytest.fixture
def envoys() -> Envoys:
    return Envoys(system_clock, lambda minor: Path(binaries.envoy()) if minor == "1.40" else None)


def around(resources: tuple[Rendered, ...]) -> Neighbours:
    return Neighbours((), tuple(each.name for each in resources if each.type_url == CLUSTER))


async def test_each_resource_of_a_mesh_is_taken_alone(envoys: Envoys) -> None:
    every = tuple(rendered(a_mesh(), "default/web-1"))
    assert {each.type_url for each in every} == {CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE} == TRIED
    for each in every:
        assert await envoys.accepts("envoy 1.40", each, around(every)), each.name


async def test_one_that_is_wrong_is_refused_and_another_version_cannot_tell(envoys: Envoys) -> None:
    every = tuple(rendered(a_mesh(), "default/web-1"))
    good = next(each for each in every if each.type_url == ROUTE and each.name == "default/api")
    routes = RouteConfiguration.FromString(good.body)
    routes.virtual_hosts[0].routes[0].match.safe_regex.regex = "("
    wrong = replace(good, body=routes.SerializeToString())
    assert await envoys.accepts("envoy 1.40", wrong, around(every)) is False
    assert await envoys.accepts("envoy 1.39", wrong, around(every)) is None
    assert await envoys.accepts("something else", wrong, around(every)) is None
