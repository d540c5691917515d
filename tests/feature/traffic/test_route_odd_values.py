"""HTTPRoute: values that are right but rare. Each must be taken by Envoy, or one route would keep back all of its service."""

from __future__ import annotations

import pytest

from tests.support.traffic.routes import route, to
from tests.support.traffic.world import Traffic

API = f"backendRefs: [{to('api')}]"
EIGHT = ", ".join(to("api", 1_000_000) for _ in range(16))

ODD = {
    "many attempts": f"retry: {{attempts: 4294967295, codes: [503]}}\n{API}",
    "a long backoff": f"retry: {{backoff: 99999h, attempts: 1}}\n{API}",
    "a short backoff": f"retry: {{backoff: 0s, attempts: 1}}\n{API}",
    "long timeouts": f"timeouts: {{request: 99999h59m, backendRequest: 99999h}}\n{API}",
    "a short timeout": f"timeouts: {{request: 0s, backendRequest: 0s}}\n{API}",
    "heavy backends": f"backendRefs: [{EIGHT}]",
    "a percent sign": "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: "
    f"{{set: [{{name: x-a, value: '100%'}}, {{name: x-b, value: '%REQ(x)%'}}]}}}}]\n{API}",
    "an odd cookie": f'sessionPersistence: {{sessionName: "a%b|c"}}\nbackendRefs: [{to("api")}, {to("api", 2)}]',
    "an odd header for sessions": f"sessionPersistence: {{sessionName: X-Kept, type: Header}}\n{API}",
    "a long prefix": f"matches: [{{path: {{value: /{'a' * 1000}}}}}, {{path: {{value: /}}}}]\n{API}",
    "backslashes": "filters: [{type: URLRewrite, urlRewrite: "
    f"{{path: {{type: ReplaceFullPath, replaceFullPath: /a$1}}}}}}]\n{API}",
    "a mirror of nothing": "filters: [{type: RequestMirror, requestMirror: "
    f"{{backendRef: {{name: store, port: 80}}, fraction: {{numerator: 0, denominator: 2147483647}}}}}}]\n{API}",
    "a redirect of everything": "filters: [{type: RequestRedirect, requestRedirect: "
    "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}, hostname: a.b, scheme: https, port: 65535}}]",
    "the host as a header": "filters: [{type: RequestHeaderModifier, requestHeaderModifier: "
    f"{{set: [{{name: Host, value: other}}], add: [{{name: x-envoy-retry-on, value: 5xx}}]}}}}]\n{API}",
    "no origin": f"filters: [{{type: CORS, cors: {{}}}}]\n{API}",
    "CONNECT": f"matches: [{{method: CONNECT}}, {{method: TRACE}}, {{path: {{value: /}}}}]\n{API}",
}


@pytest.mark.parametrize("name", ODD)
async def test_it_is_taken(traffic: Traffic, name: str) -> None:
    async with traffic.apply(route(ODD[name])):
        answer = await traffic.get("http://api.mesh/")
        assert answer.status == (302 if "redirect" in name else 200), answer
