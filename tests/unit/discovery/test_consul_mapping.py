from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.consul_mapping import Mapped, instances, map_service
from discovery.consul_options import ConsulOptions
from mesh.interception import Interception, PlainCheck
from mesh.names import Key
from mesh.service import Protocol, ServicePort
from mesh.workload import OUTBOUND_PORT, Health, Locality, Use, Workload, WorkloadPort
from tests.support.consul_entries import an_entry


def mapped(*entries: dict[str, object], name: str = "api", options: ConsulOptions | None = None) -> Mapped:
    read, warnings = instances(entries)
    assert not warnings
    return map_service("consul", name, read, options or ConsulOptions())


def only(*entries: dict[str, object]) -> Workload:
    found = mapped(*entries)
    assert not found.warnings, found.warnings
    ((_, workload),) = found.workloads
    return workload


def test_defaults() -> None:
    found = mapped(an_entry())
    (service,) = found.services
    assert (service.key, service.ports) == (Key("default", "api"), (ServicePort("main", 80, Protocol.TCP),))
    assert service.origin == ("consul: service api",)
    workload = only(an_entry())
    assert workload == Workload(
        Key("default", "n1.api-1"),
        (Key("default", "api"),),
        "api",
        "10.0.0.1",
        (WorkloadPort("main", 8080),),
        outbound_port=OUTBOUND_PORT,
    )
    assert workload.origin == ("consul: service api, instance api-1, node n1",)


def test_everything_that_meta_can_say() -> None:
    meta = {
        "namespace": "shop",
        "workload": "api.one",
        "service-account": "api-sa",
        "protocol": "grpc",
        "service-port": "8443",
        "port-name": "rpc",
        "meshed": "true",
        "app-port": "9000",
        "uses": "store, payments/ledger",
        "local-ports": "store=9101, payments/cards:http=9102",
        "outbound-port": "15009",
        "region": "eu",
        "zone": "a",
        "sub-zone": "r1",
        "version": "v2",
    }
    entry = an_entry(
        meta=meta, address="127.0.0.9", tags=["canary", "version=v1", "team=red", "odd=", "=odd"]
    )
    found = mapped(entry)
    assert found.services[0].key == Key("shop", "api")
    assert found.services[0].ports == (ServicePort("rpc", 8443, Protocol.GRPC),)
    workload = only(entry)
    assert workload.key == Key("shop", "api.one")
    assert workload.service_account == "api-sa"
    assert (workload.address, workload.ports) == ("127.0.0.9", (WorkloadPort("rpc", app=9000, sidecar=8080),))
    assert (workload.meshed, workload.outbound_port) == (True, 15009)
    assert workload.locality == Locality("eu", "a", "r1")
    assert dict(workload.labels) == {
        "version": "v2",
        "team": "red",
        "odd": "",
        "tag/canary": "true",
        "tag/=odd": "true",
    }
    assert workload.uses == (
        Use(Key("payments", "cards"), "http", 9102),
        Use(Key("payments", "ledger")),
        Use(Key("shop", "store"), None, 9101),
    )


def test_uses_empty_is_nothing_and_absent_is_everything() -> None:
    assert only(an_entry(meta={"uses": ""})).uses == ()
    assert only(an_entry(meta={})).uses is None
    assert only(an_entry(meta={"local-ports": "store=1"})).uses == (Use(Key("default", "store"), None, 1),)


@pytest.mark.parametrize(
    ("checks", "weights", "health", "weight"),
    [
        ((), (3, 2), Health.PASSING, 3),
        (("passing", "warning"), (3, 2), Health.WARNING, 2),
        (("warning", "critical", "passing"), (3, 2), Health.CRITICAL, 3),
        (("maintenance",), (3, 2), Health.CRITICAL, 3),
        (("warning",), (3, 0), Health.CRITICAL, 1),
        (("passing",), (0, 0), Health.PASSING, 1),
        (("warning",), None, Health.WARNING, 1),
    ],
)
def test_health_and_weight(
    checks: tuple[str, ...], weights: tuple[int, int] | None, health: Health, weight: int
) -> None:
    workload = only(an_entry(checks=checks, weights=weights))
    assert workload.health is health
    if health is not Health.CRITICAL:
        assert workload.weight == weight


def test_an_unknown_status_is_critical_and_told() -> None:
    found = mapped(an_entry(checks=("wobbly",)))
    assert found.workloads[0][1].health is Health.CRITICAL
    assert found.warnings == (
        "instance api-1 of Consul service api on node n1: check c0 has the unknown status 'wobbly': taken as critical",
    )


def test_locality_meta_before_consuls_before_the_nodes_meta() -> None:
    meta = {"region": "r-node", "zone": "z-node", "sub-zone": "s-node"}
    assert only(an_entry(node_meta=meta)).locality == Locality("r-node", "z-node", "s-node")
    newer = {"Region": "r-consul", "Zone": "z-consul"}
    assert only(an_entry(node_meta=meta, Locality=newer)).locality == Locality(
        "r-consul", "z-consul", "s-node"
    )
    own = an_entry(node_meta=meta, Locality=newer, meta={"zone": "z-own"})
    assert only(own).locality == Locality("r-consul", "z-own", "s-node")


@pytest.mark.parametrize(
    ("address", "read"), [("fd00::0001", "fd00::1"), ("[fd00::1]", "fd00::1"), ("127.0.0.3", "127.0.0.3")]
)
def test_addresses(address: str, read: str) -> None:
    assert only(an_entry(address=address)).address == read


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (an_entry(address="db.example"), "address 'db.example' is not an IP address"),
        (an_entry(node_address=""), "node address '' is not an IP address"),
        (an_entry(address="0.0.0.0"), "can't be connected to"),
        (an_entry(address="fe80::1%eth0"), "can't be connected to"),
        (an_entry(port=0), "port 0 is out of range"),
        (an_entry(port=70000), "port 70000 is out of range"),
        (an_entry(meta={"meshed": "true"}), "set meta app-port"),
        (an_entry(meta={"meshed": "perhaps"}), "neither true nor false"),
        (an_entry(meta={"app-port": "x"}), "meta app-port 'x' is no port"),
        (an_entry(meta={"service-port": "0"}), "meta service-port '0' is no port"),
        (an_entry(meta={"outbound-port": "99999"}), "meta outbound-port '99999' is no port"),
        (an_entry(meta={"protocol": "htpp"}), "meta protocol 'htpp' is unknown"),
        (an_entry(meta={"namespace": "A b"}), "namespace 'A b' is not a DNS label"),
        (an_entry(meta={"namespace": "mesh"}), "namespace 'mesh'"),
        (an_entry(meta={"service-account": "a/b"}), "service account 'a/b'"),
        (an_entry(meta={"workload": "Api"}), "meta workload 'Api' is no name"),
        (an_entry(meta={"uses": "Store"}), "meta uses: service 'Store'"),
        (an_entry(meta={"local-ports": "store"}), "meta local-ports 'store' is not"),
        (an_entry(meta={"local-ports": "store=1,web=1"}), "one port to two services"),
        (an_entry(meta={"port-name": "No Name"}), "meta port-name 'No Name'"),
        (an_entry("___", node="___"), "no letter or digit"),
    ],
)
def test_a_bad_instance_is_left_out_alone(entry: dict[str, object], said: str) -> None:
    found = mapped(entry, an_entry("good", node="n2"))
    assert [workload.key.name for _, workload in found.workloads] == ["n2.good"]
    (warning,) = found.warnings
    assert said in warning
    assert warning.startswith("instance ")
    assert " of Consul service api on node " in warning


def test_entries_that_cannot_be_read_are_left_out_alone() -> None:
    read, warnings = instances([an_entry(), {"Node": {}}, 7, an_entry(port="x")])  # type: ignore[arg-type]
    assert len(read) == 1
    assert len(warnings) == 3
    assert warnings[2].startswith("an instance is left out: Service.Port: ")


def test_names_are_made_of_node_and_id() -> None:
    assert only(an_entry("Web_1/a", node="Node A")).key.name == "node-a.web-1-a"


def test_the_oldest_instance_decides_and_the_others_are_warned_about() -> None:
    new = an_entry("new", age=20, meta={"protocol": "http", "service-port": "81"})
    old = an_entry("old", age=10, meta={"protocol": "tcp"})
    found = mapped(new, old)
    assert found.services[0].ports == (ServicePort("tcp", 80, Protocol.TCP),)
    assert [workload.ports[0].name for _, workload in found.workloads] == ["tcp", "tcp"]
    assert len(found.warnings) == 2
    assert "meta protocol is http, but tcp at the oldest instance" in found.warnings[0]
    assert "meta service-port is 81, but 80" in found.warnings[1]


def test_a_service_in_two_namespaces_is_two_services() -> None:
    found = mapped(an_entry("a"), an_entry("b", meta={"namespace": "other"}))
    assert [str(service.key) for service in found.services] == ["default/api", "other/api"]


def test_only_what_belongs_to_the_mesh() -> None:
    proxy = an_entry("p", Kind="connect-proxy")
    assert mapped(proxy) == Mapped()
    in_mesh, other = an_entry("in", meta={"mesh": "true"}, tags=["mesh"]), an_entry("out")
    for options in (ConsulOptions(only_meta=("mesh", "true")), ConsulOptions(only_tag="mesh")):
        found = mapped(in_mesh, other, options=options)
        assert [workload.key.name for _, workload in found.workloads] == ["n1.in"]
    assert not mapped(other, name="Bad_Name", options=ConsulOptions(only_tag="mesh")).warnings


def test_a_service_name_that_cannot_be_one() -> None:
    found = mapped(an_entry(service="Bad_Name"), name="Bad_Name")
    assert not found.services
    assert "Consul service Bad_Name is left out" in found.warnings[0]


@given(
    meta=st.dictionaries(
        st.sampled_from(
            ["namespace", "workload", "meshed", "app-port", "uses", "local-ports", "protocol", "zone"]
        ),
        st.text(max_size=12) | st.sampled_from(["true", "9000", "a", "a=1", "http"]),
    ),
    port=st.integers(-1, 70000),
    address=st.text(max_size=8) | st.sampled_from(["10.0.0.1", "::1"]),
    tags=st.lists(st.text(max_size=5)),
    node=st.text(max_size=5),
)
def test_nothing_that_consul_may_hold_breaks_it(
    meta: dict[str, str], port: int, address: str, tags: list[str], node: str
) -> None:
    found = mapped(an_entry(meta=meta, port=port, address=address, tags=tags, node=node))
    assert len(found.workloads) <= 1
    assert found.workloads or found.warnings


def test_an_instance_whose_traffic_is_intercepted_registers_its_own_port() -> None:
    meta = {"meshed": "true", "interception": "true", "health-checks": "8081, 8080/healthz", "dns-port": "53"}
    workload = only(an_entry(meta=meta))
    assert workload.ports == (WorkloadPort("main", app=8080),)
    assert workload.interception == Interception(
        dns_port=53, checks=(PlainCheck(8080, "/healthz"), PlainCheck(8081))
    )
    assert workload.labels == ()
    # The registered port may be the sidecar's as ever.
    assert only(an_entry(meta=meta | {"app-port": "9000"})).ports == (WorkloadPort("main", 9000, 8080),)


def test_clusters_on_demand() -> None:
    said = {"onDemand": True, "all": False, None: None}
    for text, wanted in said.items():
        meta = {} if text is None else {"clusters": text}
        assert only(an_entry(meta=meta)).on_demand is wanted
    (warning,) = mapped(an_entry(meta={"clusters": "lazy"})).warnings
    assert "meta clusters 'lazy' is unknown: use all or onDemand" in warning


def test_interception_that_cannot_be() -> None:
    (warning,) = mapped(an_entry(meta={"interception": "true"})).warnings
    assert warning.endswith("meta interception has no effect without meta meshed=true")
    meta = {"meshed": "true", "interception": "true", "health-checks": "/healthz"}
    (warning,) = mapped(an_entry(meta=meta)).warnings
    assert "'/healthz' is not <port>[/<path>], e.g. 9001/healthz" in warning


def test_of_udp_the_registered_port_is_the_application_s_whether_or_not_there_is_a_sidecar() -> None:
    """Sidecars take no datagrams."""
    meta = {"protocol": "udp", "service-port": "53"}
    (service,) = mapped(an_entry(meta=meta)).services
    assert service.ports == (ServicePort("udp", 53, Protocol.UDP),)
    for more in ({}, {"meshed": "true"}):
        assert only(an_entry(meta=meta | more)).ports == (WorkloadPort("udp", 8080),)
    both = meta | {"meshed": "true", "app-port": "9000"}
    assert only(an_entry(meta=both)).ports == (WorkloadPort("udp", 9000, 8080),)
