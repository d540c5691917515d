"""What an API server's refusals become, and how a watch's bytes are cut into lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kube.answers import Asked, Lines, parse_object, refusal
from kube.errors import (
    AlreadyExists,
    ApiError,
    Busy,
    Conflict,
    Expired,
    Field,
    Forbidden,
    Invalid,
    Nonsense,
    NotFound,
    Unauthorized,
)
from kube.resource import ENDPOINT_SLICES, NODES, PODS, SECRETS, SERVICES, Resource

ASKED = Asked("east", "patch", PODS, "shop", "api-1", "status")


def refused(code: int, asked: Asked = ASKED, retry_after: str = "", **status: Any) -> ApiError:
    return refusal(asked, code, json.dumps({"kind": "Status", "code": code, **status}).encode(), retry_after)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Expired),
        (400, "BadRequest", Invalid),
        (413, "RequestEntityTooLarge", Invalid),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", Busy),
        (500, "InternalError", Busy),
        (504, "Timeout", Busy),
        (301, "", Nonsense),
    ],
)
def test_each_code_is_an_error_that_names_the_request(code: int, reason: str, kind: type[ApiError]) -> None:
    error = refused(code, reason=reason, message="so it is")
    assert type(error) is kind
    assert str(error).startswith(f"cluster east: patch pods/status shop/api-1: {code}: so it is")


def test_403_says_which_rule_is_missing() -> None:
    assert (
        'grant {apiGroups: [""], resources: ["pods/status"], verbs: ["patch"]} in a Role in namespace shop'
        in str(refused(403))
    )
    everywhere = Asked("east", "watch", ENDPOINT_SLICES)
    assert (
        'grant {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["watch"]} in a ClusterRole'
        in str(refused(403, everywhere))
    )


def test_a_webhook_s_refusal_is_no_matter_of_rights() -> None:
    assert "grant" not in str(refused(403, message='admission webhook "x" denied the request: no'))


def test_what_a_secret_holds_is_not_quoted() -> None:
    error = refused(
        422, Asked("east", "create", SECRETS, "shop", "s"), message="data: Invalid value: hunter2"
    )
    assert "hunter2" not in str(error)


def test_fields_that_are_wrong_are_named() -> None:
    error = refused(422, details={"causes": [{"field": "spec.ports[0].port", "message": "too large"}]})
    assert isinstance(error, Invalid)
    assert error.fields == (Field("spec.ports[0].port", "too large"),)


def test_the_server_may_say_how_long_to_wait() -> None:
    assert refused(429, retry_after="7").retry_after == 7
    assert refused(429, details={"retryAfterSeconds": 3}).retry_after == 3
    assert refused(429, retry_after="Wed, 21 Oct").retry_after == 0


def test_an_answer_of_something_else_is_told_in_short() -> None:
    error = refusal(ASKED, 502, b"<html>\n  bad   gateway" + b"x" * 10_000, "")
    assert isinstance(error, Busy)
    assert "bad gateway" in str(error)
    assert len(str(error)) < 700


def test_what_is_no_object_is_nonsense() -> None:
    for body in (b"", b"[]", b"<html>", b'"x"'):
        with pytest.raises(Nonsense, match="is the address that of a Kubernetes API server"):
            parse_object(ASKED, body)


def test_paths_are_those_of_the_api() -> None:
    assert SERVICES.path() == "/api/v1/services"
    assert SERVICES.path("shop", "api", "status") == "/api/v1/namespaces/shop/services/api/status"
    assert ENDPOINT_SLICES.path("shop") == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
    assert NODES.path(name="one") == "/api/v1/nodes/one"
    assert (
        Resource("a.example", "v1", "things", "Thing").path("x", "../y")
        == "/apis/a.example/v1/namespaces/x/things/..%2Fy"
    )
    with pytest.raises(ValueError, match="whole cluster"):
        NODES.path("shop")
    with pytest.raises(ValueError, match="say which"):
        PODS.path(name="one")


def test_lines_are_cut_wherever_the_pieces_end() -> None:
    whole = b'{"a":1}\n{"b":2}\n\n{"c":3}\n'
    for size in range(1, len(whole) + 1):
        lines = Lines(100)
        found = [
            line for start in range(0, len(whole), size) for line in lines.feed(whole[start : start + size])
        ]
        assert found == [b'{"a":1}', b'{"b":2}', b'{"c":3}'], size


def test_a_line_that_never_ends_is_given_up() -> None:
    lines = Lines(10)
    lines.feed(b"x" * 10)
    with pytest.raises(OverflowError):
        lines.feed(b"x")
