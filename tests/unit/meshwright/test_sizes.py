"""What a proxy is given, beside what everything would be."""

from __future__ import annotations

from envoy.render import Renderer
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from mesh.workload import Use
from meshwright.publisher import Publisher, client_id
from meshwright.sizes import CLUSTER_MEMORY
from tests.support.builders import a_key, a_proxy, a_service

SERVICES = tuple(a_service(f"s{number}") for number in range(10))
NARROW = a_proxy("narrow", uses=(Use(a_key("s1")), Use(a_key("s2"))))
WIDE = a_proxy("wide")


def publisher(*attached: Key) -> Publisher:
    state, _ = MeshState("mesh.test").apply(SourceSnapshot("s", SERVICES, (NARROW, WIDE)))
    made = Publisher(state, Renderer())
    for key in attached:
        made.attach(key, proved=True, proxyless=False)
    return made


def test_uses_makes_it_less_and_the_rest_is_reckoned() -> None:
    size = publisher(NARROW.key).sizes()[client_id(NARROW.key)]
    assert (size.services, size.of_services) == (2, 10)
    assert size.of_size == 5 * size.size > 0
    assert (size.memory, size.of_memory) == (2 * CLUSTER_MEMORY, 10 * CLUSTER_MEMORY)


def test_beside_a_proxy_that_has_everything_it_is_measured() -> None:
    sizes = publisher(NARROW.key, WIDE.key).sizes()
    everything = sizes[client_id(WIDE.key)]
    assert everything.services == 10
    assert everything.size == everything.of_size == sizes[client_id(NARROW.key)].of_size
