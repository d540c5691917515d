from __future__ import annotations

from documents.effects import Effects, effects
from documents.parsing import parse
from documents.sets import DocumentSet
from mesh.names import Key
from tests.support.builders import service_document, workload_document

API, WEB, STORE = (Key("default", name) for name in ("api", "web", "store"))
API_1, WEB_1, WEB_2 = (Key("default", name) for name in ("api-1", "web-1", "web-2"))


def a_set(*documents: str) -> DocumentSet:
    return DocumentSet().with_files([parse("all.yaml", "".join(documents).encode())])


def proxy(name: str, more: str = "") -> str:
    service = name.rpartition("-")[0]
    return workload_document(
        name,
        f"services: [{service}], address: 10.0.0.1, ports: [{{name: http, app: 9001, sidecar: 15101}}], "
        f"meshed: true{more}",
    )


MESH = (
    service_document("api"),
    service_document("web"),
    service_document("store"),
    proxy("api-1", ", uses: [store]"),
    proxy("web-1", ", uses: [api]"),
    proxy("web-2"),
)


def test_nothing_changed() -> None:
    assert effects(a_set(*MESH), a_set(*MESH)) == Effects()
    moved = DocumentSet().with_files([parse("other.yaml", "".join(reversed(MESH)).encode())])
    assert not effects(a_set(*MESH), moved)


def test_an_endpoint_more_concerns_itself_and_those_who_may_call_it() -> None:
    result = effects(a_set(*MESH), a_set(*MESH, proxy("api-2", ", uses: []")))
    assert [str(each.key) for each in result.added] == ["default/api-2"]
    assert result.services == frozenset()
    assert result.endpoints == {API}
    assert result.workloads == {Key("default", "api-2")}
    assert result.proxies == {Key("default", "api-2"), WEB_1, WEB_2}
    assert not result.urgent


def test_a_changed_service_concerns_callers_and_servers() -> None:
    ports = "ports: [{name: http, port: 8080, protocol: http}]"
    result = effects(a_set(*MESH), a_set(service_document("store", ports), *MESH[:2], *MESH[3:]))
    assert [each.origin for each in result.changed] == ["all.yaml#1 Service default/store"]
    assert result.services == {STORE}
    assert result.proxies == {API_1, WEB_2}


def test_a_removal_is_urgent() -> None:
    result = effects(a_set(*MESH), a_set(*MESH[:-1]))
    assert [str(each.key) for each in result.removed] == ["default/web-2"]
    assert result.urgent
    assert WEB_2 in result.proxies


def test_fields_without_effect() -> None:
    result = effects(
        a_set(service_document("api")),
        a_set(
            service_document("api"),
            workload_document(
                "api-1",
                "services: [api], address: 10.0.0.1, ports: [{name: http, app: 1, sidecar: 2}], weight: 3, "
                "outboundPort: 15002, uses: [nobody, {service: api, port: http}]",
            ),
            workload_document("idle", "address: 10.0.0.2, ports: [{name: http, app: 1}]"),
        ),
    )
    assert [(each.where.subject, each.where.path, each.reason) for each in result.without_effect] == [
        ("Workload default/api-1", "spec.weight", "no effect: this workload is the only one of default/api"),
        ("Workload default/api-1", "spec.ports[0].sidecar", "no effect: the workload has no sidecar"),
        ("Workload default/api-1", "spec.uses", "no effect: the workload has no sidecar"),
        ("Workload default/api-1", "spec.outboundPort", "no effect: the workload has no sidecar"),
        ("Workload default/api-1", "spec.uses[0]", "no effect: there is no service default/nobody"),
        (
            "Workload default/api-1",
            "spec.uses[1].port",
            "no effect: without a local port, all ports of the service can be called",
        ),
        ("Workload default/idle", "spec.ports", "no effect: the workload serves nothing"),
    ]


def test_a_weight_beside_another_has_effect() -> None:
    assert effects(a_set(*MESH), a_set(*MESH, proxy("web-3", ", weight: 2"))).without_effect == ()
