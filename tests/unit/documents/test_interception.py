from __future__ import annotations

import pytest

from documents.parsing import parse
from documents.sets import DocumentSet
from mesh.interception import Interception, PlainCheck
from tests.support.builders import service_document, workload_document

SPEC = "services: [api], address: 10.0.0.1, meshed: true, ports: [{name: http, app: 9001}]"


def test_an_empty_one_is_the_defaults() -> None:
    (workload,) = parse("a.yaml", workload_document(spec=f"{SPEC}, interception: {{}}").encode()).workloads()
    assert workload.interception == Interception()
    assert workload.interception.inbound_port == 15006


def test_everything() -> None:
    spec = (
        "{inboundPort: 16006, dnsPort: 16053, ipv6: false, "
        "healthChecks: [{port: 9002}, {port: 9001, path: /ready}, {port: 9001, path: /healthz}]}"
    )
    (workload,) = parse(
        "a.yaml", workload_document(spec=f"{SPEC}, interception: {spec}").encode()
    ).workloads()
    assert workload.interception == Interception(
        16006, 16053, False, (PlainCheck(9001, "/healthz"), PlainCheck(9001, "/ready"), PlainCheck(9002))
    )


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (
            "services: [api], address: 10.0.0.1, interception: {}",
            "spec.interception: there is no sidecar to send its traffic to. Set meshed: true",
        ),
        (
            f"{SPEC}, interception: {{inboundPort: 9001}}",
            "spec.interception.inboundPort: port 9001 is already taken by spec.ports[0].app. Use another port",
        ),
        (
            f"{SPEC}, interception: {{dnsPort: 15001}}",
            "spec.interception.dnsPort: port 15001 is already taken by spec.outboundPort. Use another port",
        ),
        (
            f"{SPEC}, interception: {{healthChecks: [{{port: 15006}}]}}",
            "healthChecks[0].port: port 15006 is the sidecar's own. Name the application's port",
        ),
        (
            f"{SPEC}, interception: {{healthChecks: [{{port: 9001, path: healthz}}]}}",
            "healthChecks[0].path: 'healthz' is not the path of a URL. Begin it with '/', without a query",
        ),
        (
            f"{SPEC}, interception: {{healthChecks: [{{port: 1}}, {{port: 1, path: /a}}]}}",
            "healthChecks[1].path: all of port 1 is open already. Remove the check without a path, or this one",
        ),
        (
            f"{SPEC}, interception: {{healthChecks: [{{port: 1, path: /a}}, {{port: 1, path: /a}}]}}",
            "healthChecks[1]: the same check is declared above. Remove one",
        ),
    ],
)
def test_what_is_wrong(spec: str, error: str) -> None:
    (found,) = parse("a.yaml", workload_document(spec=spec).encode()).errors
    assert error in str(found)


def test_two_workloads_of_one_host_cannot_both_be_intercepted() -> None:
    files = [
        parse("api.yaml", service_document("api").encode()),
        parse("a.yaml", workload_document("api-1", f"{SPEC}, outboundPort: 1, interception: {{}}").encode()),
        parse(
            "b.yaml",
            workload_document("api-2", f"{SPEC}, outboundPort: 2, interception: {{dnsPort: 3}}").encode(),
        ),
    ]
    (warning,) = DocumentSet().with_files(files).warnings
    assert (warning.where.file, warning.where.path) == ("b.yaml", "spec.interception.inboundPort")
    assert "has port 15006 of 10.0.0.1 already" in str(warning)
