from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Literal

import pytest
from pydantic import model_validator

from documents.envelope import API_VERSION, Kind, Problem
from documents.errors import Conflict, DocumentError, Invalid, Malformed
from documents.kinds import KINDS
from documents.parsing import MAX_ERRORS, parse
from documents.service import ServiceDocument
from mesh.names import Key
from mesh.service import Protocol, Service, ServicePort
from mesh.workload import Health, Locality, Use, Workload, WorkloadPort
from tests.support.builders import service_document, workload_document

DESIGN = b"""\
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: api, namespace: default}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload                       # one instance
metadata: {name: api-1, namespace: default, labels: {version: v2}}
spec:
  services: [api]
  serviceAccount: api
  address: 127.0.0.1
  ports: [{name: http, app: 9001, sidecar: 15101}]
  locality: {region: eu, zone: a}
  meshed: true
  uses: [store, {service: db, namespace: data, port: sql, localPort: 5432}]
"""


def errors(text: str) -> list[str]:
    return [str(error) for error in parse("a.yaml", text.encode()).errors]


def test_the_documents_of_the_design() -> None:
    parsed = parse("a.yaml", DESIGN)
    assert parsed.errors == ()
    assert list(parsed.services()) == [
        Service(Key("default", "api"), (ServicePort("http", 80, Protocol.HTTP),))
    ]
    (workload,) = parsed.workloads()
    assert workload == Workload(
        key=Key("default", "api-1"),
        services=(Key("default", "api"),),
        service_account="api",
        address="127.0.0.1",
        ports=(WorkloadPort("http", 9001, 15101),),
        locality=Locality("eu", "a"),
        labels=(("version", "v2"),),
        meshed=True,
        uses=(Use(Key("default", "store")), Use(Key("data", "db"), "sql", 5432)),
    )
    assert workload.origin == ("a.yaml#2 Workload default/api-1",)


def test_defaults() -> None:
    (service, serving, calling) = parse(
        "a.yaml",
        (
            service_document("shop/api", "ports: [{name: sql, port: 5432}]")
            + workload_document("shop/a", "address: '::1', services: [api], health: warning, uses: []")
            + workload_document("shop/b", "address: 10.0.0.1")
        ).encode(),
    ).documents
    assert isinstance(service.value, Service)
    assert service.value.ports[0].protocol is Protocol.TCP
    assert isinstance(serving.value, Workload)
    assert serving.value.service_account == "api"
    assert serving.value.uses == ()
    assert serving.value.health is Health.WARNING
    assert isinstance(calling.value, Workload)
    assert calling.value.service_account == "b"
    assert calling.value.uses is None


def test_what_kubernetes_adds_is_accepted() -> None:
    text = service_document().replace(
        "namespace: default",
        'namespace: default, uid: x, generation: 3, resourceVersion: "7", creationTimestamp: 2026-01-02T03:04:05Z',
    )
    parsed = parse("a.yaml", (text + "status: {conditions: []}\n").encode())
    assert parsed.errors == ()
    assert parsed.documents[0].created == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            service_document().replace("kind: Service", "kind: Servise"),
            (
                "a.yaml:3, document 1 (Servise default/api), kind: there is no kind 'Servise'. Did you mean Service? "
                "Known kinds: Service, Workload, "
            ),
        ),
        (
            service_document().replace("meshwright.dev/v1alpha1", "v1"),
            (
                "a.yaml:2, document 1 (Service default/api), apiVersion: there is no Service of 'v1'. "
                "Use apiVersion: meshwright.dev/v1alpha1"
            ),
        ),
        ("a: 1", "a.yaml:1, document 1: apiVersion is missing. Known kinds: "),
        ("[x]", "a.yaml:1, document 1: a document is a mapping of apiVersion, kind, metadata and spec. "),
        (
            service_document("api", "prots: [], ports: [{name: http, port: 80}]"),
            (
                "a.yaml:5, document 1 (Service default/api), spec.prots: unknown field 'prots'. Did you mean ports? "
                "Known here: ports, address, serviceAccounts"
            ),
        ),
        (
            workload_document("w", "address: 10.0.0.1, uses: [api, {servic: x, service: x}]"),
            (
                "a.yaml:5, document 1 (Workload default/w), spec.uses[1].servic: unknown field 'servic'. "
                "Did you mean service? Known here: service, namespace, port, localPort"
            ),
        ),
        (
            service_document("api", "ports: [{name: http, port: 70000}]"),
            (
                "a.yaml:5, document 1 (Service default/api), spec.ports[0].port: 70000 is not a port. "
                "Use a number from 1 to 65535"
            ),
        ),
        (service_document("api", "ports: [{name: http, port: 0}]"), "spec.ports[0].port: 0 is not a port. "),
        (
            service_document("api", 'ports: [{name: http, port: "80"}]'),
            "spec.ports[0].port: '80' is text. Give a whole number",
        ),
        (
            service_document("api", "ports: [{name: http, port: 80, protocol: htp}]"),
            "spec.ports[0].protocol: 'htp' is not known here. Use http, http2, grpc, tcp, tls or udp",
        ),
        (service_document("api", "ports: []"), "spec.ports: the list is empty. Give at least 1"),
        (service_document("api", ""), "spec.ports: ports is missing. Add it"),
        (
            service_document("api", "ports: [{name: a, port: 80}, {name: a, port: 81}]"),
            "spec.ports[1].name: name a is already that of ports[0]. Give each its own name",
        ),
        (
            service_document("api", "ports: [{name: a, port: 80}, {name: b, port: 80}]"),
            "spec.ports[1].port: port 80 is already that of ports[0]. Give each its own port",
        ),
        (
            service_document("api", "ports: [{name: a, port: 80}], address: api.example"),
            "spec.address: 'api.example' is not an IP address. Use an IPv4 or IPv6 address, not a name",
        ),
        (
            service_document().replace("name: api", "name: 2024"),
            'metadata.name: 2024 is read as a number, and text is wanted. Put it in quotes: "2024"',
        ),
        (
            service_document().replace("name: api", "name: Api"),
            "metadata.name: name 'Api' is not a DNS label. Use up to 63 lower-case letters, digits and '-'",
        ),
        (
            service_document("mesh/api"),
            "metadata.namespace: namespace 'mesh' would make <service>.mesh ambiguous. Choose another name",
        ),
        (
            workload_document("w", "address: 0.0.0.0"),
            "spec.address: 0.0.0.0 is not the address of one instance. Use the address at which others reach it",
        ),
        (
            workload_document("w", "address: 10.0.0.1, weight: 0"),
            "spec.weight: 0 is too small. Use 1 or more",
        ),
        (
            workload_document("w", "address: 10.0.0.1, meshed: yes"),
            "spec.meshed: 'yes' is text. Give true or false",
        ),
        (
            workload_document("w", "address: 10.0.0.1, serviceAccount: a/b"),
            "spec.serviceAccount: service account 'a/b' cannot be part of a SPIFFE id. ",
        ),
        (
            workload_document(
                "w",
                "address: 10.0.0.1, ports: [{name: a, app: 1, sidecar: 5}, {name: b, app: 2, sidecar: 5}]",
            ),
            "spec.ports[1].sidecar: sidecar port 5 is already that of ports[0]. Give each its own sidecar port",
        ),
        (
            workload_document(
                "w", "address: 10.0.0.1, meshed: true, ports: [{name: a, app: 9001, sidecar: 9001}]"
            ),
            "spec.ports[0].sidecar: port 9001 is already taken by spec.ports[0].app. Use another port",
        ),
        (
            workload_document("w", "address: 10.0.0.1, meshed: true, uses: [{service: x, localPort: 15001}]"),
            "spec.uses[0].localPort: port 15001 is already taken by spec.outboundPort. Use another port",
        ),
        (
            workload_document("w", "address: 10.0.0.1, services: [{name: x}]"),
            "spec.services[0]: {'name': 'x'} is a mapping. Give text",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_the_way_out(text: str, expected: str) -> None:
    (error,) = errors(text)
    assert expected in error


def test_all_errors_are_told_at_once() -> None:
    parsed = parse(
        "a.yaml",
        (service_document("api", "prots: 1, address: x") + "---\na: [\n" + service_document("Ok")).encode(),
    )
    assert [(error.where.document, error.where.path, type(error)) for error in parsed.errors] == [
        (1, "spec.ports", Invalid),
        (1, "spec.address", Invalid),
        (1, "spec.prots", Invalid),
        (2, "", Malformed),
        (3, "metadata.name", Invalid),
    ]


def test_the_number_of_errors_is_bounded() -> None:
    assert len(errors("---\nx: [\n" * 1000)) == MAX_ERRORS


def test_a_name_given_twice_in_one_file() -> None:
    parsed = parse("a.yaml", (service_document() + workload_document() + service_document()).encode())
    (error,) = parsed.errors
    assert isinstance(error, Conflict)
    assert str(error) == (
        "a.yaml:11, document 3 (Service default/api): Service default/api is declared already, by a.yaml:1, "
        "document 1 (Service default/api). Remove or rename one of the two"
    )


def test_errors_are_one_tree() -> None:
    assert {each.__base__ for each in (Conflict, Invalid, Malformed)} == {DocumentError}


class Odd(ServiceDocument):
    kind: Literal["Odd"]  # type: ignore[assignment]


class Unvalidated(Odd):
    @model_validator(mode="after")
    def fails(self) -> Unvalidated:
        raise AttributeError("no such thing")


class Unchecked(Odd):
    def problems(self) -> Iterator[Problem]:
        raise AttributeError("no such thing")


class Unvalued(Odd):
    def value(self, origin: tuple[str, ...]) -> Service:
        raise AttributeError("no such thing")


@pytest.mark.parametrize("model", [Unvalidated, Unchecked, Unvalued])
def test_what_a_kind_did_not_foresee_is_the_error_of_that_document_only(model: type[Odd]) -> None:
    text = service_document("api").replace("kind: Service", "kind: Odd") + service_document("web")
    parsed = parse("a.yaml", text.encode(), (*KINDS, Kind(API_VERSION, "Odd", model)))
    (error,) = parsed.errors
    assert isinstance(error, Invalid)
    assert (error.where.document, error.where.subject) == (1, "Odd default/api")
    assert str(error).endswith(": AttributeError: no such thing. Correct or remove it")
    assert [each.key.name for each in parsed.services()] == ["web"]
