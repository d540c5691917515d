"""Endpoints of headless services, which are called by their own addresses."""

from __future__ import annotations

from mesh.direct import DirectView, accounts, direct_views
from mesh.transport import Plaintext
from mesh.views import service_view
from mesh.workload import Health, WorkloadPort
from tests.support.builders import a_key, a_port, a_service, a_state, a_workload

DB = a_key("db")
SQL = a_port("sql", 5432, "tcp")
PORTS = (WorkloadPort("sql", 15432),)


def test_each_endpoint_with_a_sidecar_by_the_port_that_it_listens_on() -> None:
    state = a_state(
        a_service("db", SQL, headless=True),
        a_workload("db-0", address="10.0.0.1", ports=PORTS, meshed=True),
        a_workload("db-1", address="10.0.0.2", ports=PORTS, meshed=True, service_account="other"),
        a_workload("db-2", address="10.0.0.3", ports=PORTS),
    )
    assert direct_views(state, DB) == (
        DirectView(DB, SQL, "10.0.0.1", 15432, "db"),
        DirectView(DB, SQL, "10.0.0.2", 15432, "other"),
    )
    assert accounts(state, DB) == (
        ("db", ("spiffe://mesh.test/ns/default/sa/db",)),
        ("other", ("spiffe://mesh.test/ns/default/sa/other",)),
    )


def test_those_of_other_services_are_not() -> None:
    state = a_state(a_service("api"), a_workload("api-1", meshed=True))
    assert direct_views(state, a_key("api")) == ()
    assert accounts(state, a_key("api")) == ()


def test_a_gateway_intercepts_nothing_and_needs_nothing_of_it() -> None:
    state = a_state(a_service("db", SQL, headless=True), a_workload("db-0", ports=PORTS, meshed=True))
    assert service_view(state, DB).direct
    assert not service_view(state, DB, edge=True).direct


def test_who_is_not_ready_is_still_who_he_is() -> None:
    pod = a_workload("db-0", address="10.0.0.1", ports=PORTS, meshed=True, health=Health.CRITICAL)
    assert len(direct_views(a_state(a_service("db", SQL, headless=True), pod), DB)) == 1


def test_an_address_is_that_of_the_instance_which_serves() -> None:
    old = a_workload("db-0", address="10.0.0.1", ports=PORTS, meshed=True, health=Health.CRITICAL)
    new = a_workload("db-1", address="10.0.0.1", ports=PORTS, meshed=True, service_account="new")
    state = a_state(a_service("db", SQL, headless=True), old, new)
    assert [each.account for each in direct_views(state, DB)] == ["new"]


def test_an_account_that_may_not_serve_it_is_nobody() -> None:
    service = a_service("db", SQL, headless=True, service_accounts=("owner",))
    state = a_state(service, a_workload("db-0", ports=PORTS, meshed=True, service_account="thief"))
    assert [each.account for each in direct_views(state, DB)] == [None]
    assert [account for account, _ in accounts(state, DB)] == ["owner"]


def test_who_is_called_in_plaintext_needs_nothing() -> None:
    state = a_state(
        a_service("db", SQL, headless=True),
        a_workload("db-0", address="10.0.0.1", ports=PORTS, meshed=True),
        a_workload("db-1", address="10.0.0.2", ports=PORTS, meshed=True),
    )
    plain = Plaintext(frozenset({(a_key("db-0"), 5432)}))
    assert [each.address for each in direct_views(state, DB, plain.called)] == ["10.0.0.2"]


def test_datagrams_pass_and_a_virtual_address_is_no_endpoints() -> None:
    udp = a_service("dns", a_port("dns", 53, "udp"), headless=True)
    pod = a_workload("dns-0", address="10.0.0.1", ports=(WorkloadPort("dns", 53),), meshed=True)
    assert direct_views(a_state(udp, pod), a_key("dns")) == ()
    taken = a_service("other", address="10.0.0.2")
    pod = a_workload("db-0", address="10.0.0.2", ports=PORTS, meshed=True)
    assert direct_views(a_state(a_service("db", SQL, headless=True), taken, pod), DB) == ()
