"""What Kubernetes' objects are in the mesh: one fact a test, from objects as the API has them."""

from __future__ import annotations

import pytest

from discovery.kubernetes_catalog import Catalog
from discovery.kubernetes_mapping import Mapped, map_service
from discovery.kubernetes_model import (
    keep_namespace,
    keep_node,
    keep_pod,
    keep_service,
    keep_slice,
)
from kube.resource import name_of
from mesh.names import Key
from mesh.service import Protocol, Service
from mesh.workload import Health, Locality, Use, Workload, WorkloadPort
from tests.support.kubernetes.values import Json, a_node, a_pod, a_service, a_slice, an_endpoint, port

API = Key("shop", "api")


def mapped(value: Json) -> Mapped:
    found = keep_service(value)
    assert found is not None
    return map_service("kubernetes", Key(*name_of(value)), found)


def service(value: Json) -> Service:
    made = mapped(value).service
    assert made is not None
    return made


def protocols(*ports: Json) -> dict[int, tuple[Protocol, bool]]:
    return {each.port: (each.protocol, each.assumed) for each in service(a_service("api", *ports)).ports}


def a_catalog(
    *slices: Json, services: tuple[Json, ...] = (), pods: tuple[Json, ...] = (), nodes: tuple[Json, ...] = ()
) -> Catalog:
    """All of these, with the service `api` unless `services` are given, settled."""
    catalog = Catalog("kubernetes")
    for each in services or (a_service(),):
        catalog.put_service(name_of(each), keep_service(each))
    for each in slices:
        catalog.put_slice(name_of(each), keep_slice(each))
    for each in pods:
        catalog.put_pod(name_of(each), keep_pod(each))
    for each in nodes:
        catalog.put_node(name_of(each), keep_node(each))
    catalog.settle()
    return catalog


def workloads(catalog: Catalog) -> dict[str, Workload]:
    return {each.key.name: each for each in catalog.snapshot().workloads}


def live(catalog: Catalog) -> set[str]:
    return {name for name, each in workloads(catalog).items() if each.health is not Health.CRITICAL}


def test_a_cluster_ip_is_the_virtual_address() -> None:
    made = service(a_service("api", port("http", 80), address="10.97.1.2"))
    assert (made.key, made.address, made.virtual_address) == (API, "10.97.1.2", "10.97.1.2")


def test_a_dual_stack_service_has_its_first_address() -> None:
    assert service(a_service(clusterIPs=["fd00::1", "10.97.0.9"])).address == "fd00::1"


def test_a_headless_service_has_an_address_of_the_mesh_and_its_pods_are_called_by_theirs() -> None:
    made = service(a_service(address="None"))
    assert made.headless
    assert not service(a_service()).headless
    assert made.address is None
    assert made.virtual_address.startswith("24")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("http", Protocol.HTTP),
        ("HTTP", Protocol.HTTP),
        ("kubernetes.io/h2c", Protocol.HTTP2),
        ("http2", Protocol.HTTP2),
        ("grpc", Protocol.GRPC),
        ("kubernetes.io/ws", Protocol.HTTP),
        ("kubernetes.io/wss", Protocol.TLS),
        ("https", Protocol.TLS),
        ("tls", Protocol.TLS),
        ("redis", Protocol.TCP),
        ("example.com/own", Protocol.TCP),
    ],
)
def test_app_protocol_says_what_is_spoken_and_wins_over_the_name(said: str, expected: Protocol) -> None:
    assert protocols(port("http-x", 80, said)) == {80: (expected, False)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("http", (Protocol.HTTP, False)),
        ("http-metrics", (Protocol.HTTP, False)),
        ("http2-x", (Protocol.HTTP2, False)),
        ("grpc", (Protocol.GRPC, False)),
        ("grpc-web-x", (Protocol.HTTP, False)),
        ("https", (Protocol.TLS, False)),
        ("tcp-x", (Protocol.TCP, False)),
        ("httpx", (Protocol.TCP, True)),
        ("metrics", (Protocol.TCP, True)),
        ("", (Protocol.TCP, True)),
    ],
)
def test_else_the_name_s_beginning_and_else_tcp_is_assumed(
    name: str, expected: tuple[Protocol, bool]
) -> None:
    assert protocols(port(name, 80)) == {80: expected}


def test_a_port_without_a_name_is_named_after_what_it_speaks() -> None:
    assert [each.name for each in service(a_service("api", port("", 80, "http"))).ports] == ["http"]
    assert [each.name for each in service(a_service("api", port("", 80))).ports] == ["main"]


def test_datagrams_are_a_protocol_and_give_way_to_tcp_of_their_number() -> None:
    dns = (port("dns", 53, transport="UDP"), port("dns-tcp", 53), port("log", 514, transport="UDP"))
    made = service(a_service("api", *dns))
    assert [(each.name, each.protocol) for each in made.ports] == [
        ("dns-tcp", Protocol.TCP),
        ("log", Protocol.UDP),
    ]


def test_sctp_is_left_out_and_told() -> None:
    made = mapped(a_service("api", port("http", 80), port("sig", 36412, transport="SCTP")))
    assert made.service is not None
    assert [each.port for each in made.service.ports] == [80]
    assert "port 36412 is left out: Envoy knows no SCTP" in made.warnings[0]


@pytest.mark.parametrize(
    "host", ["localhost", "a.LOCALHOST.", "localhost.localdomain", "127.1", "0x7f.0.0.1"]
)
def test_an_external_name_that_is_whoever_calls_it_is_none(host: str) -> None:
    """A route of a gateway that many share could lead to what its proxy has on loopback."""
    found = mapped(a_service("api", type="ExternalName", externalName=host, clusterIPs=[], clusterIP=""))
    assert found.service is None
    (warning,) = found.warnings
    assert warning.startswith("kubernetes: Service shop/api is left out: its externalName ")


def test_an_external_name_is_a_service_outside() -> None:
    made = service(
        a_service("api", type="ExternalName", externalName="DB.example.com.", clusterIPs=[], clusterIP="")
    )
    assert made.external is not None
    assert made.external.hosts == ("db.example.com",)


def test_an_external_name_inside_is_told() -> None:
    made = mapped(
        a_service("api", type="ExternalName", externalName="b.shop.svc.cluster.local", clusterIPs=[])
    )
    assert made.service is None
    assert "call that Service by its own name" in made.warnings[0]


def test_a_gateway_s_service_is_none_of_the_mesh() -> None:
    value = a_service(selector={"gateway.networking.k8s.io/gateway-name": "edge"})
    assert mapped(value) == Mapped()


def test_a_namespace_that_cannot_be_named_is_told() -> None:
    value = a_service()
    value["metadata"]["namespace"] = "mesh"
    assert "ambiguous" in mapped(value).warnings[0]


def test_a_pod_is_a_workload_with_the_identity_of_its_service_account() -> None:
    catalog = a_catalog(
        a_slice("api-x", an_endpoint("10.245.0.7", "api-1")),
        pods=(a_pod("api-1", account="shopper", labels={"version": "v2"}),),
    )
    made = workloads(catalog)["api-1"]
    assert made.key == Key("shop", "api-1")
    assert (made.services, made.service_account, made.address) == ((API,), "shopper", "10.245.0.7")
    assert made.ports == (WorkloadPort("http", 8080),)
    assert made.labels == (("version", "v2"),)
    assert not made.meshed
    assert made.interception is None


def test_a_pod_with_a_sidecar_is_meshed_and_intercepted() -> None:
    made = workloads(a_catalog(pods=(a_pod("api-1", meshed=True),)))["api-1"]
    assert made.meshed
    assert made.interception is not None
    assert made.interception.inbound_port == 15006


def test_a_pod_on_its_node_s_network_is_not_meshed() -> None:
    assert not workloads(a_catalog(pods=(a_pod("api-1", meshed=True, hostNetwork=True),)))["api-1"].meshed


def test_a_pod_that_no_service_selects_is_a_caller() -> None:
    made = workloads(a_catalog(pods=(a_pod("job-1", meshed=True),)))["job-1"]
    assert made.services == ()
    assert made.uses is None


def test_pods_without_an_address_or_that_have_ended_are_nothing() -> None:
    pods = (a_pod("a", ""), a_pod("b", phase="Succeeded"), a_pod("c", phase="Failed"))
    assert workloads(a_catalog(pods=pods)) == {}


def test_a_gateway_s_pod_plays_that_gateway_and_serves_nothing() -> None:
    labels = {"gateway.networking.k8s.io/gateway-name": "edge"}
    made = workloads(
        a_catalog(
            a_slice("api-x", an_endpoint("10.245.0.7", "edge-1")),
            pods=(a_pod("edge-1", meshed=True, labels=labels),),
        )
    )["edge-1"]
    assert made.gateway == Key("shop", "edge")
    assert (made.services, made.ports, made.interception) == ((), (), None)


def test_a_pod_that_is_not_ready_is_there_and_gets_no_calls() -> None:
    catalog = a_catalog(
        a_slice("api-x", an_endpoint("10.245.0.7", "api-1", ready=False)), pods=(a_pod("api-1"),)
    )
    made = workloads(catalog)["api-1"]
    assert (made.services, made.health) == ((API,), Health.CRITICAL)


def test_what_ends_is_called_only_while_nothing_else_is_ready() -> None:
    ending = an_endpoint("10.245.0.7", "api-1", ready=False, serving=True, terminating=True)
    pods = (a_pod("api-1"), a_pod("api-2", "10.245.0.8"))
    assert live(a_catalog(a_slice("api-x", ending, an_endpoint("10.245.0.8", "api-2")), pods=pods)) == {
        "api-2"
    }
    starting = an_endpoint("10.245.0.8", "api-2", ready=False)
    assert live(a_catalog(a_slice("api-x", ending, starting), pods=pods)) == {"api-1"}
    failed = an_endpoint("10.245.0.7", "api-1", ready=False, serving=False, terminating=True)
    assert live(a_catalog(a_slice("api-x", failed, starting), pods=pods)) == set()


def test_conditions_that_are_unknown_are_true() -> None:
    catalog = a_catalog(
        a_slice("api-x", an_endpoint("10.245.0.7", "api-1", ready=None)), pods=(a_pod("api-1"),)
    )
    assert live(catalog) == {"api-1"}


def test_locality_is_the_node_s_and_the_endpoint_s() -> None:
    catalog = a_catalog(
        a_slice("api-x", an_endpoint("10.245.0.7", "api-1", zone="b"), an_endpoint("10.245.0.8", "api-2")),
        pods=(a_pod("api-1"), a_pod("api-2", "10.245.0.8")),
        nodes=(a_node("one", "eu", "a"),),
    )
    assert workloads(catalog)["api-1"].locality == Locality("eu", "b")
    assert workloads(catalog)["api-2"].locality == Locality("eu", "a")


def test_ports_with_other_numbers_in_some_pods_are_of_these() -> None:
    catalog = a_catalog(
        a_slice("api-x", an_endpoint("10.245.0.7", "api-1")),
        a_slice("api-y", an_endpoint("10.245.0.8", "api-2"), ports={"http": 9090}),
        pods=(a_pod("api-1"), a_pod("api-2", "10.245.0.8")),
    )
    assert workloads(catalog)["api-1"].ports == (WorkloadPort("http", 8080),)
    assert workloads(catalog)["api-2"].ports == (WorkloadPort("http", 9090),)


def test_two_services_of_a_pod_may_mean_other_ports_by_one_name() -> None:
    catalog = a_catalog(
        a_slice("api-x", an_endpoint("10.245.0.7", "api-1"), ports={"http": 8080, "tcp": 1}),
        a_slice("b-x", an_endpoint("10.245.0.7", "api-1"), service="b", ports={"http": 9090, "tcp": 1}),
        services=(
            a_service("api", port("http", 80), port("tcp", 81)),
            a_service("b", port("http", 80), port("tcp", 81), address="10.97.0.10"),
        ),
        pods=(a_pod("api-1"),),
    )
    made = workloads(catalog)["api-1"]
    assert made.services == (API, Key("shop", "b"))
    found = {each: made.port_of(Key("shop", each), "http") for each in ("api", "b")}
    assert {name: each.app for name, each in found.items() if each} == {"api": 8080, "b": 9090}
    assert len(made.ports) == 3


def test_an_endpoint_that_is_no_pod_s_is_a_workload_without_a_sidecar() -> None:
    made = workloads(a_catalog(a_slice("api-x", an_endpoint("192.0.2.7", zone="a"))))["api.192-0-2-7"]
    assert (made.services, made.address, made.meshed) == ((API,), "192.0.2.7", False)
    assert made.locality == Locality("", "a")


def test_a_pod_s_endpoint_waits_for_the_pod() -> None:
    catalog = a_catalog(a_slice("api-x", an_endpoint("10.245.0.7", "api-1")))
    assert workloads(catalog) == {}
    pod = a_pod("api-1")
    catalog.put_pod(name_of(pod), keep_pod(pod))
    update = catalog.settle()
    assert update is not None
    assert [each.key.name for each in update.workloads] == ["api-1"]


def test_the_other_family_of_a_dual_stack_service_adds_nothing() -> None:
    catalog = a_catalog(
        a_slice("api-4", an_endpoint("10.245.0.7", "api-1")),
        a_slice("api-6", an_endpoint("fd00::7", "api-1", ready=False), addressType="IPv6"),
        pods=(a_pod("api-1"),),
    )
    assert live(catalog) == {"api-1"}


def test_ports_that_pass_the_sidecar_are_called_without_it() -> None:
    annotations = {"meshwright.dev/exclude-inbound-ports": "8080, 9"}
    made = workloads(
        a_catalog(
            a_slice("api-x", an_endpoint("10.245.0.7", "api-1")),
            pods=(a_pod("api-1", meshed=True, annotations=annotations),),
        )
    )["api-1"]
    assert made.ports == (WorkloadPort("http", 8080, passed=True),)
    annotations = {"meshwright.dev/include-inbound-ports": "8080"}
    made = workloads(
        a_catalog(
            a_slice("api-x", an_endpoint("10.245.0.7", "api-1")),
            pods=(a_pod("api-1", meshed=True, annotations=annotations),),
        )
    )["api-1"]
    assert made.ports == (WorkloadPort("http", 8080),)


def test_a_pod_may_say_what_it_calls_and_that_clusters_come_on_demand() -> None:
    annotations = {"meshwright.dev/uses": "stock, bank/till, bank/, /", "meshwright.dev/clusters": "onDemand"}
    made = workloads(a_catalog(pods=(a_pod("api-1", meshed=True, annotations=annotations),)))["api-1"]
    assert made.uses == (Use(Key("bank", "till")), Use(Key("shop", "stock")))
    assert made.on_demand is True
    made = workloads(a_catalog(pods=(a_pod("api-1", meshed=True, annotations={"meshwright.dev/uses": ""}),)))[
        "api-1"
    ]
    assert (made.uses, made.on_demand) == ((), None)


def test_labels_of_namespaces_are_declared() -> None:
    catalog = Catalog("kubernetes")
    value = {"metadata": {"name": "shop", "labels": {"team": "a"}}}
    catalog.put_namespace(name_of(value), keep_namespace(value))
    update = catalog.settle()
    assert update is not None
    assert [each.name for each in update.declared] == [("Namespace", Key("", "shop"))]
    catalog.put_namespace(name_of(value), None)
    update = catalog.settle()
    assert update is not None
    assert update.removed_declared == (("Namespace", Key("", "shop")),)
