"""What `meshwright status` shows of gateways and routes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from api.shapes.status import Status
from meshwright.certificates import Certificates
from meshwright.gateway_status import gateway_statuses, listener_set_statuses, route_statuses
from meshwright.tables import troubled
from tests.support.builders import service_document
from tests.unit.mesh import test_listener_sets as sets
from tests.unit.mesh.test_gateway_views import HTTP, HTTPS, SECRET, a_gateway, a_mesh, a_player, a_route
from tests.unit.meshwright.test_tables import a_status, shown


def a_told_status(tmp_path: Path, *documents: str) -> Status:
    state = a_mesh(*documents)
    certificates = Certificates(tmp_path, tmp_path / "data", lambda: datetime.now(UTC))
    return a_status().model_copy(
        update={
            "routes": tuple(route_statuses(state)),
            "gateways": tuple(gateway_statuses(state, certificates)),
            "listener_sets": tuple(listener_set_statuses(state, certificates)),
        }
    )


def test_a_route_that_is_taken_and_leads_somewhere_is_a_line(tmp_path: Path) -> None:
    status = a_told_status(
        tmp_path, service_document("api"), a_player(), a_gateway(HTTP), a_route("a", section="http")
    )
    assert not troubled(status)
    lines = [line.split() for line in shown(status).splitlines()]
    assert ["Gateway", "default/edge", "all", "default/edge-1"] in lines
    assert ["HTTPRoute", "default/a", "all", "Gateway", "default/edge#http"] in lines


def test_what_does_not_hold_comes_first_and_says_why(tmp_path: Path) -> None:
    status = a_told_status(tmp_path, a_gateway(HTTPS), SECRET, a_route("a"))
    assert troubled(status)
    text = shown(status)
    assert "Pending Gateway default/edge: no workload plays it: set spec.gateway: edge" in text
    assert "Invalid Gateway default/edge at https: it has no certificate that could be read" in text
    assert (
        "BackendNotFound HTTPRoute default/a at Gateway default/edge: there is no Service default/api" in text
    )
    assert text.index("BackendNotFound") < text.index("source")
    assert "all but" in text


def test_a_set_of_listeners_is_a_line_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    both = "name: {}, port: 8080, protocol: HTTP, hostname: a.b"
    status = a_told_status(
        tmp_path,
        a_player(),
        sets.a_gateway(),
        sets.a_set("one", both.format("a")),
        sets.a_set("two", both.format("b"), "name: c, port: 8081, protocol: HTTP"),
    )
    lines = [line.split() for line in shown(status).splitlines()]
    assert ["ListenerSet", "default/one", "all", "Gateway", "default/edge"] in lines
    assert ["ListenerSet", "default/two", "all", "but", "3", "Gateway", "default/edge"] in lines
    text = shown(status)
    assert (
        "HostnameConflict ListenerSet default/two at b: port 8080 and host name a.b are taken already" in text
    )
    (edge,) = status.gateways
    assert (edge.attached_listener_sets, edge.attached_routes) == (2, {"http": 0})
