"""What one of several control planes says of the proxies that it does not know."""

from __future__ import annotations

from api.table import ROUTES
from api.unseen import OF_PROXIES
from meshwright.elsewhere import Elsewhere
from tests.support.builders import a_key, a_service, a_snapshot, a_state, a_workload


def test_replicas_are_those_of_its_service_or_those_of_its_store() -> None:
    pods = [a_workload(f"meshwright-{number}", services=["meshwright"]) for number in range(3)]
    state, _ = a_state().apply(a_snapshot(a_service("meshwright"), *pods))
    own = a_key("meshwright")
    assert Elsewhere(lambda: state, None, lambda: 0).replicas() == 1
    assert Elsewhere(lambda: state, own, lambda: 0).replicas() == 3
    assert Elsewhere(lambda: state, None, lambda: 2).replicas() == 2
    assert Elsewhere(lambda: state, a_key("other"), lambda: 0).unseen() == ""
    assert "one of 3 replicas" in Elsewhere(lambda: state, own, lambda: 0).unseen()


def test_what_tells_of_proxies_is_routes_that_there_are() -> None:
    assert {route.name for route in ROUTES} > OF_PROXIES
    assert Elsewhere(a_state, None, lambda: 2).unseen().isascii(), "it goes into a header"
