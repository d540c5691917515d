"""Whatever is written instead of a part of a right document, reading it raises nothing and says where it is wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.parsing import parse
from tests.support.route_documents import GROUP, gateway, gateway_api, grpc_match, http_route

RIGHT = [
    yaml.safe_load(text.removeprefix("---\n"))
    for text in (
        http_route(
            "hostnames: [a.com], rules: [{name: a, matches: [{path: {type: Exact, value: /a}, method: GET, "
            "headers: [{name: a, value: b}], queryParams: [{name: c, value: d, type: RegularExpression}]}], "
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [c]}}, "
            "{type: URLRewrite, urlRewrite: {hostname: a.b, path: {type: ReplaceFullPath, replaceFullPath: /}}}, "
            "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, fraction: {numerator: 1}}}, "
            '{type: CORS, cors: {allowOrigins: ["https://a.b"], allowMethods: [GET], maxAge: 5}}], '
            "backendRefs: [{name: a, port: 1, weight: 2, filters: []}], timeouts: {request: 1s, backendRequest: 1ms}, "
            "retry: {codes: [500], attempts: 1, backoff: 1ms}, "
            "sessionPersistence: {absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}}]"
        ),
        grpc_match("method: {service: a.B, method: C}, headers: [{name: a, value: b}]"),
        gateway_api("TLSRoute", "hostnames: [a.b], rules: [{backendRefs: [{name: a, port: 1}]}]"),
        gateway(
            "name: a, port: 443, protocol: HTTPS, hostname: a.b, tls: {certificateRefs: [{name: c}]}, allowedRoutes: "
            "{kinds: [{kind: HTTPRoute}], namespaces: {from: Selector, selector: {matchLabels: {a: b}, "
            "matchExpressions: [{key: a, operator: In, values: [b]}]}}}",
            more=", addresses: [{value: '::1'}], tls: {frontend: {default: {}, perPort: [{port: 1, tls: {}}]}}",
        ),
        gateway_api(
            "ReferenceGrant",
            f'from: [{{group: {GROUP}, kind: Gateway, namespace: a}}], to: [{{group: "", kind: Secret, name: b}}]',
        ),
        gateway_api(
            "BackendTLSPolicy",
            "targetRefs: [{name: a, sectionName: b}], validation: {hostname: a.b, wellKnownCACertificates: System, "
            "subjectAltNames: [{type: URI, uri: 'spiffe://a/b'}]}",
        ),
    )
]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=8),
    st.sampled_from(
        ["*", "*.", "/", "//", "(", "::1", "1s", "a,b", "Exact", "HTTPRoute", [], {}, [[]], [{}], {"a": 1}]
    ),
)


@given(st.sampled_from(RIGHT), st.data())
@settings(max_examples=400)
def test_a_part_is_something_else(right: dict[str, Any], data: st.DataObject) -> None:
    document = copy.deepcopy(right)
    for _ in range(data.draw(st.integers(1, 2))):
        at: Any = document["spec"]
        holder: Any = document
        key: Any = "spec"
        while isinstance(at, dict | list) and at and data.draw(st.booleans() | st.just(value=True)):
            holder = at
            key = data.draw(st.sampled_from(sorted(at))) if isinstance(at, dict) else len(at) - 1
            at = holder[key]
        if data.draw(st.booleans()) and isinstance(holder, list):
            holder.append(copy.deepcopy(at))
        else:
            holder[key] = copy.deepcopy(data.draw(ODD))
        if not isinstance(document["spec"], dict):
            break
    # JSON is YAML, and reads back as what was written.
    parsed = parse("a.yaml", json.dumps(document, ensure_ascii=True).encode())
    assert parsed.errors or parsed.documents
    for each in parsed.documents:
        hash(each.value)
    for error in parsed.errors:
        assert error.reason
        assert error.remedy
