"""ExternalAuthorization: what it adds to routes, and what is said against wrong ones."""

from __future__ import annotations

import dataclasses

import pytest

from envoy.seams import Called
from mesh.names import Key
from mesh.policy import Policy
from mesh.service import Protocol
from pb.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from pb.envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcherPerRoute
from pb.envoy.extensions.filters.http.composite.v3.composite_pb2 import ExecuteFilterAction
from pb.envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from pb.xds.type.matcher.v3.matcher_pb2 import Matcher
from policies import external_authorization
from policies.external_authorization import FILTER, KIND
from tests.support.policy_documents import (
    CALLEE,
    CALLER,
    accepted,
    added,
    declared,
    of,
    on_route,
    refusals,
)

GRPC = "protocol: grpc, service: {name: a, port: 80}"
BY_GRPC = f"{{{GRPC}}}"
HTTP = "protocol: http, service: {name: a, port: 80}"
AT_ROUTE = dataclasses.replace(CALLER, route=True)


def matcher(fields: str) -> Matcher:
    per_route = ExtensionWithMatcherPerRoute.FromString(on_route(added(KIND, f"{{{fields}}}"))[FILTER])
    return per_route.xds_matcher


def asked(fields: str) -> ExtAuthz:
    action, made = ExecuteFilterAction(), ExtAuthz()
    matcher(fields).on_no_match.action.typed_config.Unpack(action)
    action.typed_config.typed_config.Unpack(made)
    return made


def test_the_example_is_right() -> None:
    accepted(external_authorization.EXAMPLE)


def test_by_grpc_the_service_is_told_who_calls_and_what_the_token_claims() -> None:
    made = asked(f"{GRPC}, timeout: 20ms, add: [{{name: x-a, value: b}}]")
    service = made.grpc_service
    assert (service.envoy_grpc.cluster_name, service.envoy_grpc.authority) == (
        "default/a:80",
        "a.default.mesh",
    )
    assert service.timeout.ToMilliseconds() == 20
    assert [(each.key, each.value) for each in service.initial_metadata] == [("x-a", "b")]
    assert list(made.metadata_context_namespaces) == ["envoy.filters.http.jwt_authn"]
    assert not made.HasField("allowed_headers")
    assert not made.failure_mode_allow
    assert made.status_on_error.code == 503


def test_by_http_who_calls_is_among_the_headers() -> None:
    made = asked(f"{HTTP}, headers: [Cookie], path: /check/, failure: allow, clientHeaders: [location]")
    assert [each.exact for each in made.allowed_headers.patterns] == ["cookie", "x-forwarded-client-cert"]
    assert made.http_service.path_prefix == "/check"
    assert made.failure_mode_allow
    answer = made.http_service.authorization_response
    assert [each.exact for each in answer.allowed_client_headers.patterns] == ["location"]
    assert not answer.allowed_upstream_headers.patterns


def test_without_a_service_nobody_can_be_asked_and_everything_is_refused() -> None:
    for fields in ("failure: allow", "protocol: grpc, failure: allow", "service: {name: a, port: 80}"):
        made = asked(fields)
        assert made.http_service.server_uri.cluster == "nowhere"
        assert not made.failure_mode_allow


def test_what_cannot_be_told_closes() -> None:
    assert KIND.closed is not None
    assert on_route(KIND.closed(CALLEE)) == on_route(added(KIND, "failure: allow"))


def test_conditions_are_alternatives_of_which_none_may_be_an_exception() -> None:
    made = matcher(
        f"{GRPC}, requests: [{{methods: [GET]}}, {{paths: [{{exact: /a}}]}}], except: [{{headers: [{{name: x}}]}}]"
    )
    assert not made.HasField("on_no_match")
    (only,) = made.matcher_list.matchers
    wanted, unwanted = only.predicate.and_matcher.predicate
    assert len(wanted.or_matcher.predicate) == 4
    assert unwanted.not_matcher.single_predicate.input.name == "x"
    alone = matcher(f"{GRPC}, except: [{{}}]").matcher_list.matchers[0].predicate
    assert alone.not_matcher.single_predicate.input.name == ":method"


def test_where_it_is_enforced() -> None:
    assert not added(KIND, BY_GRPC, CALLER)
    assert not added(KIND, BY_GRPC, of(CALLEE, Protocol.TCP))
    at_route = added(KIND, BY_GRPC, AT_ROUTE)
    assert at_route.called == (Called(Key("default", "a"), 80),)
    assert at_route.route == added(KIND, BY_GRPC, dataclasses.replace(CALLEE, policy="")).route


def test_it_can_be_switched_off() -> None:
    assert not added(KIND, "enabled: false")
    off = on_route(added(KIND, "enabled: false", AT_ROUTE))
    assert FilterConfig.FromString(off[FILTER]).disabled


def test_of_a_gateway_and_its_route_the_route_says_it() -> None:
    parts = [added(KIND, BY_GRPC), added(KIND, "enabled: false", AT_ROUTE)]
    assert external_authorization.join(parts) == parts[1]


def test_the_route_names_the_policy_for_access_logs() -> None:
    route = Route.FromString(added(KIND, BY_GRPC).route)
    named = route.metadata.filter_metadata["meshwright.dev/ExternalAuthorization"]["policy"]
    assert named == "ExternalAuthorization default/p"


def test_a_service_is_of_the_namespace_of_the_policy() -> None:
    (policy,) = declared(
        "apiVersion: meshwright.dev/v1alpha1\nkind: ExternalAuthorization\nmetadata: {name: p, namespace: shop}\n"
        f"spec: {{targetRefs: [{{kind: Mesh}}], {GRPC}}}\n"
    )
    assert isinstance(policy.value, Policy)
    assert policy.value.fields["service"]["namespace"] == "shop"  # type: ignore[call-overload, index]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("enforced: false", "spec: nothing is said. Add protocol and service, or enabled: false"),
        (f"{GRPC}, path: /a", "spec.path: by gRPC the service says this itself. Remove path"),
        (
            f"{GRPC}, upstreamHeaders: [x-a]",
            "spec.upstreamHeaders: by gRPC the service says this itself. Remove upstreamHeaders",
        ),
        (f"{HTTP}, authority: a", "spec.authority: by HTTP it is the host of the request. Remove authority"),
        (
            f"{HTTP}, body: {{maxBytes: 1, raw: true}}",
            "spec.body.raw: by HTTP a body is always sent as it is. Remove raw",
        ),
        (
            f"{HTTP}, path: check",
            "spec.path: 'check' is not the beginning of a path. Write it like /check, without a query",
        ),
        (
            f"{HTTP}, failureStatus: 200",
            "spec.failureStatus: 200 is not the status of a refusal. Use one that is registered, like 403 or 503",
        ),
        (f"{HTTP}, body: {{maxBytes: 0}}", "spec.body.maxBytes: 0 is too small. Use 1 or more"),
        (
            f"{HTTP}, headers: [a, A]",
            "spec.headers[1]: header a is already that of headers[0]. Give each its own header",
        ),
        ("protocol: http, service: {name: a}", "spec.service.port: port is missing. Add it"),
        (
            "protocol: tcp, service: {name: a, port: 1}",
            "spec.protocol: 'tcp' is not known here. Use grpc or http",
        ),
        (
            f"{HTTP}, timeout: 0s",
            "spec.timeout: 0s is no time at all. Use a duration above zero, or leave the field out",
        ),
    ],
)
def test_wrong_ones(spec: str, said: str) -> None:
    assert refusals("ExternalAuthorization", spec) == [said]
