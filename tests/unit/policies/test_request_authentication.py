"""RequestAuthentication: what it adds to a connection manager, and what is said against wrong ones."""

from __future__ import annotations

import dataclasses
import json

import pytest

from envoy.seams import Called
from mesh.names import Key
from mesh.policy import Policy
from mesh.service import Protocol
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from policies import request_authentication
from policies.request_authentication import KIND
from tests.support.policy_documents import CALLEE, accepted, added, declared, of, refusals

EC = '{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'
URI = "{uri: 'http://idp.example/keys'}"
ISSUER = f"issuers: [{{name: a, issuer: urn:a, jwks: {URI}}}]"


def authentication(fields: str) -> JwtAuthentication:
    (filter_,) = added(KIND, fields).http_filters
    assert not filter_.disabled
    return JwtAuthentication.FromString(filter_.config)


def test_the_example_is_right() -> None:
    accepted(request_authentication.EXAMPLE)


def test_a_token_of_each_issuer_is_enough_and_claims_go_where_access_policies_look() -> None:
    made = authentication(
        f"issuers: [{{name: a, issuer: urn:a, jwks: {URI}}}, {{issuer: urn:b, jwks: {URI}}}]"
    )
    assert {name: each.payload_in_metadata for name, each in made.providers.items()} == {
        "a": "payload",
        "urn:b": "payload",
    }
    (rule,) = made.rules
    assert [each.provider_name for each in rule.requires.requires_any.requirements] == ["a", "urn:b"]
    assert made.providers["a"].forward
    assert made.providers["a"].require_expiration
    assert made.providers["a"].remote_jwks.HasField("async_fetch")


def test_rules_come_in_their_order_each_alternative_by_itself_and_the_mode_last() -> None:
    made = authentication(
        f"{ISSUER[:-1]}, {{name: b, issuer: urn:b, jwks: {URI}}}]\n"
        "mode: optional\n"
        "rules:\n"
        "- {match: {paths: [{exact: /a}]}, mode: 'off'}\n"
        "- {match: {methods: [GET], hosts: [x.example]}, mode: required, issuers: [b]}\n"
        "- {match: {headers: [{name: x-lenient}]}, mode: optional, allowInvalid: true}\n"
    )
    needs = [each.requires for each in made.rules]
    assert [each.WhichOneof("requires_type") for each in needs] == [
        None,
        None,
        "provider_name",
        "requires_any",
        "requires_any",
    ]
    assert needs[3].requires_any.requirements[-1].HasField("allow_missing_or_failed")
    assert needs[4].requires_any.requirements[-1].HasField("allow_missing")
    assert [each.name for each in made.rules[2].match.headers] == [":method", ":authority"]
    assert {each.match.WhichOneof("path_specifier") for each in made.rules} == {"prefix"}


def test_what_nobody_can_satisfy_is_refused_not_left_out() -> None:
    for fields in ("mode: required", f"{ISSUER}\nrules: [{{match: {{}}, mode: required, issuers: [gone]}}]"):
        made = authentication(fields)
        assert made.rules[0].requires.provider_name == "nobody"
        assert len(json.loads(made.providers["nobody"].local_jwks.inline_string)["keys"]) == 1


def test_what_cannot_be_told_closes() -> None:
    assert KIND.closed is not None
    assert KIND.closed(CALLEE) == added(KIND, "mode: required")


def test_keys_come_from_a_server_outside_or_from_a_service() -> None:
    parts = added(
        KIND,
        "issuers: [{issuer: urn:a, jwks: {uri: 'https://idp.example/keys'}}, "
        "{issuer: urn:b, jwks: {uri: 'http://keys.mesh/', service: {name: keys, namespace: shop, port: 80}}}]",
    )
    assert [each.name for each in parts.resources] == ["jwks/https/idp.example:443"]
    assert parts.called == (Called(Key("shop", "keys"), 80),)


def test_a_service_is_of_the_namespace_of_the_policy() -> None:
    text = (
        "apiVersion: meshwright.dev/v1alpha1\nkind: RequestAuthentication\nmetadata: {name: p, namespace: shop}\n"
        "spec: {targetRefs: [{kind: Mesh}], issuers: [{issuer: urn:a, jwks: {uri: 'http://k/', service: {name: keys, port: 80}}}]}\n"
    )
    (policy,) = declared(text)
    assert isinstance(policy.value, Policy)
    assert "shop" in str(policy.value.fields)


def test_the_route_names_the_policies_for_access_logs() -> None:
    where = dataclasses.replace(CALLEE, policy="default/a, default/b")
    route = Route.FromString(added(KIND, ISSUER, where).route)
    named = route.metadata.filter_metadata["meshwright.dev/RequestAuthentication"]["policy"]
    assert named == "RequestAuthentication default/a, default/b"


def test_headers_of_claims_are_dropped_even_where_no_token_is_looked_at() -> None:
    claims = f"issuers: [{{issuer: urn:a, jwks: {URI}, claims: [{{claim: sub, header: X-User}}]}}]"
    looked, off = added(KIND, claims), added(KIND, f"{claims}\nmode: 'off'")
    assert b"x-user" in looked.manager
    assert looked.manager == off.manager
    assert not off.http_filters


def test_tcp_has_no_tokens() -> None:
    assert not added(KIND, ISSUER, of(CALLEE, Protocol.TCP))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("enforced: false", "spec: nothing is said of tokens. Add issuers, or mode and rules"),
        (
            "issuers: [{issuer: a, jwks: {}}]",
            "spec.issuers[0].jwks: keys are either inline or somewhere. Give exactly one of inline and uri",
        ),
        (
            "issuers: [{issuer: a, jwks: {uri: 'ftp://x/'}}]",
            "spec.issuers[0].jwks.uri: 'ftp://x/' is not a URL of http or https. Write it like https://idp.example/keys",
        ),
        (
            "issuers: [{issuer: a, jwks: {uri: 'https://u:p@x/'}}]",
            "spec.issuers[0].jwks.uri: a URL with a user or a password is not sent as such. Remove what stands before the @",
        ),
        (
            "issuers: [{issuer: a, jwks: {uri: 'https://10.0.0.1/'}}]",
            "spec.issuers[0].jwks: no certificate is for an address: https://10.0.0.1/. Use a host name, or an ExternalService",
        ),
        (
            "issuers: [{issuer: a, jwks: {inline: 'x'}}]",
            'spec.issuers[0].jwks.inline: that is no set of keys (JWKS). Write JSON like {"keys": [{"kty": "RSA", ...}]} (RFC 7517)',
        ),
        (
            "issuers: [{issuer: a, jwks: {inline: '{\"keys\": []}'}}]",
            "spec.issuers[0].jwks.inline: the set has no key. Give the issuer's public keys, or jwks.uri",
        ),
        (
            'issuers: [{issuer: a, jwks: {inline: \'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}\'}}]',
            "spec.issuers[0].jwks.inline: key 0 is a secret. Give public keys only: a document is no place for secrets",
        ),
        (
            f'issuers: [{{issuer: a, jwks: {{inline: \'{{"keys": [{EC[:-1]}, "d": "c2VjcmV0"}}]}}\'}}}}]',
            "spec.issuers[0].jwks.inline: key 0 is a secret. Give public keys only: a document is no place for secrets",
        ),
        (
            'issuers: [{issuer: a, jwks: {inline: \'{"keys": [{"kty": "EC", "crv": "secp256k1"}]}\'}}]',
            "spec.issuers[0].jwks.inline: key 0 is of a type that proxies do not take: EC secp256k1. Use RSA, EC or Ed25519",
        ),
        (
            f"issuers: [{{issuer: a, jwks: {URI}, tokens: [{{query: a, cookie: b}}]}}]",
            "spec.issuers[0].tokens[0]: a token is looked for in 2 places at once. Give one of header, query and cookie",
        ),
        (
            f"issuers: [{{issuer: a, jwks: {URI}, tokens: [{{query: a, prefix: b}}]}}]",
            "spec.issuers[0].tokens[0]: only a header has a prefix. Remove prefix",
        ),
        (
            f"issuers: [{{issuer: a, jwks: {URI}, claims: [{{claim: sub, header: authorization}}]}}]",
            "spec.issuers[0].claims[0].header: the token itself is in authorization. Use another header, like x-user",
        ),
        (
            f"issuers: [{{issuer: a, jwks: {URI}, claims: [{{claim: sub, header: Host}}]}}]",
            "spec.issuers[0].claims[0].header: host means something to proxies. Use another header, like x-user",
        ),
        (
            f"issuers: [{{issuer: a, jwks: {URI}}}, {{issuer: a, jwks: {URI}}}]",
            "spec.issuers[1].name: name a is already that of issuers[0]. Give each its own name",
        ),
        (
            f"{ISSUER}, rules: [{{match: {{}}, mode: required, issuers: [b]}}]",
            "spec.rules[0].issuers[0]: there is no issuer 'b' in this policy. Use a",
        ),
        (
            f"{ISSUER}, rules: [{{match: {{}}, mode: 'off', issuers: [a]}}]",
            "spec.rules[0].issuers: with mode off no token is looked at. Remove issuers",
        ),
        (
            f"{ISSUER}, mode: required, allowInvalid: true",
            "spec.allowInvalid: with mode required it has no meaning. Use mode: optional, or remove it",
        ),
        (
            f"{ISSUER}, from: [{{service: web}}]",
            "spec.from: a RequestAuthentication holds for all callers: it cannot tell them apart. Remove from",
        ),
        (
            f"{ISSUER}, rules: [{{match: {{hosts: ['a b']}}, mode: required}}]",
            "spec.rules[0].match.hosts[0]: 'a b' is not a host name. Write it like api.example.com or *.example.com, without a port",
        ),
    ],
)
def test_wrong_ones(spec: str, said: str) -> None:
    assert refusals("RequestAuthentication", spec) == [said]
