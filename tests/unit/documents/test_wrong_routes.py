"""Wrong documents of the Gateway API, each with its exact message: what is wrong, where, and the way out."""

from __future__ import annotations

import pytest

from documents.parsing import parse
from tests.support.route_documents import (
    GROUP,
    TO_API,
    gateway,
    gateway_api,
    grpc_match,
    grpc_route,
    http_filter,
    http_match,
    http_route,
    http_rule,
)
from tests.support.wrong import Wrong, what_is_said

WRONG = (
    # parents
    Wrong(
        "parent of an unknown kind",
        gateway_api("HTTPRoute", "parentRefs: [{kind: Mesh, name: a}]"),
        ["spec.parentRefs[0].kind: 'Mesh' is not known here. Use Service, Gateway or ListenerSet"],
    ),
    Wrong(
        "gateway in the core group",
        gateway_api("HTTPRoute", 'parentRefs: [{group: "", name: gw}]'),
        ["spec.parentRefs[0].group: there is no Gateway in group ''. Use group: gateway.networking.k8s.io"],
    ),
    Wrong(
        "service in the group of gateways",
        gateway_api("HTTPRoute", f"parentRefs: [{{group: {GROUP}, kind: Service, name: api}}]"),
        [
            "spec.parentRefs[0].group: there is no Service in group 'gateway.networking.k8s.io'. Use group: \"\" or meshwright.dev"
        ],
    ),
    Wrong(
        "one parent twice",
        gateway_api("HTTPRoute", "parentRefs: [{name: gw}, {name: gw}]"),
        [
            "spec.parentRefs[1]: parent Gateway default/gw is already that of parentRefs[0]. Give each its own parent"
        ],
    ),
    Wrong(
        "a parent whole and in part",
        gateway_api("HTTPRoute", "parentRefs: [{name: gw}, {name: gw, sectionName: a}]"),
        [
            "spec.parentRefs[1]: Gateway default/gw is named by spec.parentRefs[0] too, and the two do not say the same of sectionName and port. Give both a sectionName, or both a port"
        ],
    ),
    Wrong(
        "too many parents",
        gateway_api("HTTPRoute", "parentRefs: [" + ", ".join(f"{{name: g{n}}}" for n in range(33)) + "]"),
        ["spec.parentRefs: 33 are given. Give at most 32"],
    ),
    Wrong(
        "parent name",
        gateway_api("HTTPRoute", "parentRefs: [{name: A_b}]"),
        [
            "spec.parentRefs[0].name: name 'A_b' is not a DNS name. Use lower-case letters, digits, '-' and '.'"
        ],
    ),
    Wrong(
        "unknown field of a parent",
        gateway_api("HTTPRoute", "parentRefs: [{nmae: gw}]"),
        [
            "spec.parentRefs[0].name: name is missing. Add it",
            "spec.parentRefs[0].nmae: unknown field 'nmae'. Did you mean name? Known here: group, kind, namespace, name, sectionName, port",
        ],
    ),
    # hostnames
    Wrong(
        "an address as host name",
        http_route("hostnames: [10.0.0.1]"),
        ["spec.hostnames[0]: '10.0.0.1' is an IP address. Use a host name"],
    ),
    Wrong(
        "a wildcard within",
        http_route('hostnames: ["a.*.com"]'),
        [
            "spec.hostnames[0]: 'a.*.com' has a wildcard where none can be. Use a whole name; where wildcards are allowed they are '*.' in front"
        ],
    ),
    Wrong(
        "upper case",
        http_route("hostnames: [Example.com]"),
        [
            "spec.hostnames[0]: host name 'Example.com' is not a DNS name. Use lower-case letters, digits, '-' and '.'"
        ],
    ),
    Wrong(
        "a host name twice",
        http_route("hostnames: [a.com, a.com]"),
        ["spec.hostnames[1]: host name a.com is already that of hostnames[0]. Give each its own host name"],
    ),
    # rules
    Wrong("no rules", http_route("rules: []"), ["spec.rules: the list is empty. Give at least 1"]),
    Wrong(
        "too many rules",
        http_route("rules: [" + ", ".join(["{}"] * 17) + "]"),
        ["spec.rules: 17 are given. Give at most 16"],
    ),
    Wrong(
        "names of rules",
        http_route("rules: [{name: a}, {name: a}]"),
        ["spec.rules[1].name: name a is already that of rules[0]. Give each its own name"],
    ),
    Wrong(
        "too many matches",
        http_route(
            "rules: [" + ", ".join(["{matches: [" + ", ".join(["{method: GET}"] * 43) + "]}"] * 3) + "]"
        ),
        ["spec.rules: the rules have 129 matches together. Use at most 128; make another route of the rest"],
    ),
    Wrong(
        "unknown field of a rule",
        http_rule("backends: []"),
        [
            "spec.rules[0].backends: unknown field 'backends'. Did you mean backendRefs? Known here: name, matches, filters, backendRefs, timeouts, retry, sessionPersistence"
        ],
    ),
    # path
    Wrong(
        "relative path",
        http_match("path: {value: beta}"),
        ["spec.rules[0].matches[0].path.value: 'beta' does not start with '/'. Use '/beta'"],
    ),
    Wrong(
        "double slash",
        http_match("path: {type: Exact, value: /a//b}"),
        [
            "spec.rules[0].matches[0].path.value: '/a//b' has '//' in it. Write the path as a proxy normalises it"
        ],
    ),
    Wrong(
        "dots",
        http_match("path: {value: /a/../b}"),
        [
            "spec.rules[0].matches[0].path.value: '/a/../b' has '/../' in it. Write the path as a proxy normalises it"
        ],
    ),
    Wrong(
        "ends in dots",
        http_match("path: {value: /a/..}"),
        [
            "spec.rules[0].matches[0].path.value: '/a/..' ends with '/.' or '/..'. Write the path as a proxy normalises it"
        ],
    ),
    Wrong(
        "encoded slash",
        http_match('path: {value: "/a%2Fb"}'),
        [
            "spec.rules[0].matches[0].path.value: '/a%2Fb' has '%2F' in it. Write the path as a proxy normalises it"
        ],
    ),
    Wrong(
        "a space in a path",
        http_match('path: {value: "/a b"}'),
        [
            "spec.rules[0].matches[0].path.value: '/a b' has characters that a path cannot have. Percent-encode them"
        ],
    ),
    Wrong(
        "a path that is too long",
        http_match("path: {value: /" + "a" * 1024 + "}"),
        [
            "spec.rules[0].matches[0].path.value: '/aaaaaaaaaaaaaaaaaaa'… has 1025 characters. Use at most 1024"
        ],
    ),
    Wrong(
        "unknown type of path",
        http_match("path: {type: Glob, value: /a}"),
        [
            "spec.rules[0].matches[0].path.type: 'Glob' is not known here. Use Exact, PathPrefix or RegularExpression"
        ],
    ),
    Wrong(
        "look-ahead",
        http_match('path: {type: RegularExpression, value: "/(?=a)"}'),
        [
            "spec.rules[0].matches[0].path.value: '/(?=a)' is not a regular expression of RE2: invalid perl operator: (?=. See https://github.com/google/re2/wiki/Syntax; it has no look-around and no back-references"
        ],
    ),
    Wrong(
        "open parenthesis",
        http_match('path: {type: RegularExpression, value: "/(a"}'),
        [
            "spec.rules[0].matches[0].path.value: '/(a' is not a regular expression of RE2: missing ): /(a. See https://github.com/google/re2/wiki/Syntax; it has no look-around and no back-references"
        ],
    ),
    Wrong(
        "large expression",
        http_match('path: {type: RegularExpression, value: "/[a-z]{1,60}"}'),
        [
            "spec.rules[0].matches[0].path.value: '/[a-z]{1,60}' is too large: compiled it has 124 instructions. Envoy takes at most 100; counted repetitions such as {1,50} are what makes it large"
        ],
    ),
    # other matches
    Wrong(
        "method in lower case",
        http_match("method: get"),
        [
            "spec.rules[0].matches[0].method: 'get' is not known here. Use GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE or PATCH"
        ],
    ),
    Wrong(
        "pseudo-header",
        http_match('headers: [{name: ":path", value: a}]'),
        [
            "spec.rules[0].matches[0].headers[0].name: ':path' cannot be the name of a header. Use letters, digits and !#$%&'*+-.^_`|~; pseudo-headers such as :path are not allowed"
        ],
    ),
    Wrong(
        "empty header value",
        http_match('headers: [{name: a, value: ""}]'),
        [
            "spec.rules[0].matches[0].headers[0].value: '' cannot be the value of a header. Use 1 to 4096 printable ASCII characters, separated by single spaces or tabs"
        ],
    ),
    Wrong(
        "header value with a line",
        http_match('headers: [{name: a, value: "b\\nc"}]'),
        [
            "spec.rules[0].matches[0].headers[0].value: 'b\\nc' cannot be the value of a header. Use 1 to 4096 printable ASCII characters, separated by single spaces or tabs"
        ],
    ),
    Wrong(
        "number as header value",
        http_match("headers: [{name: a, value: 1}]"),
        [
            'spec.rules[0].matches[0].headers[0].value: 1 is read as a number, and text is wanted. Put it in quotes: "1"'
        ],
    ),
    Wrong(
        "header expression",
        http_match('headers: [{name: a, value: "*", type: RegularExpression}]'),
        [
            "spec.rules[0].matches[0].headers[0].value: '*' is not a regular expression of RE2: no argument for repetition operator: *. See https://github.com/google/re2/wiki/Syntax; it has no look-around and no back-references"
        ],
    ),
    Wrong(
        "query parameter name",
        http_match('queryParams: [{name: "a b", value: c}]'),
        [
            "spec.rules[0].matches[0].queryParams[0].name: 'a b' cannot be the name of a query parameter. Use letters, digits and !#$%&'*+-.^_`|~"
        ],
    ),
    Wrong(
        "empty query value",
        http_match('queryParams: [{name: a, value: ""}]'),
        ["spec.rules[0].matches[0].queryParams[0].value: the text is empty. Give it, or leave the field out"],
    ),
    # filters
    Wrong(
        "filter without its field",
        http_filter("type: CORS"),
        ["spec.rules[0].filters[0].cors: cors is missing. A filter of type CORS needs it"],
    ),
    Wrong(
        "field of another filter",
        http_filter("type: CORS, cors: {}, urlRewrite: {hostname: a.b}"),
        [
            "spec.rules[0].filters[0].urlRewrite: urlRewrite does not go with type CORS. Give each filter an element of the list, with its own type"
        ],
    ),
    Wrong(
        "unknown filter",
        http_filter("type: Cache"),
        [
            "spec.rules[0].filters[0].type: 'Cache' is not known here. Use RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS, ExternalAuth or ExtensionRef"
        ],
    ),
    Wrong(
        "authorization without its fields",
        http_filter("type: ExternalAuth"),
        [
            "spec.rules[0].filters[0].externalAuth: externalAuth is missing. A filter of type ExternalAuth needs it"
        ],
    ),
    Wrong(
        "authorization of another protocol",
        http_filter(
            "type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: a, port: 1}, http: {path: /a}}"
        ),
        [
            "spec.rules[0].filters[0].externalAuth.grpc: grpc is missing. Protocol GRPC needs it; {} will do",
            "spec.rules[0].filters[0].externalAuth.http: http does not go with protocol GRPC. Remove it",
        ],
    ),
    Wrong(
        "authorization by somebody without a port",
        http_filter("type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: a}, http: {}}"),
        [
            "spec.rules[0].filters[0].externalAuth.backendRef.port: port is missing. Say which port of the Service is meant"
        ],
    ),
    Wrong(
        "authorization behind no path",
        http_filter(
            "type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: a, port: 1}, http: {path: check}}"
        ),
        [
            "spec.rules[0].filters[0].externalAuth.http.path: 'check' is not the beginning of a path. Write it like /check"
        ],
    ),
    Wrong(
        "authorization with a body that is too large",
        http_filter(
            "type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: a, port: 1}, http: {}, forwardBody: {maxSize: 65536}}"
        ),
        ["spec.rules[0].filters[0].externalAuth.forwardBody.maxSize: 65536 is too large. Use 65535 or less"],
    ),
    Wrong(
        "authorization that names a header twice",
        http_filter(
            "type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: a, port: 1}, http: {allowedHeaders: [a, A]}}"
        ),
        [
            "spec.rules[0].filters[0].externalAuth.http.allowedHeaders[1]: header a is already that of rules[0].filters[0].externalAuth.http.allowedHeaders[0]. Give each its own header"
        ],
    ),
    Wrong(
        "extension",
        http_filter("type: ExtensionRef, extensionRef: {group: example.com, kind: Plugin, name: p}"),
        [
            "spec.rules[0].filters[0].extensionRef: Plugin p of group 'example.com' cannot be a filter. Attach a policy to this route instead, by its targetRefs"
        ],
    ),
    Wrong(
        "filter repeated",
        http_rule("filters: [{type: CORS, cors: {}}, {type: CORS, cors: {}}]"),
        ["spec.rules[0].filters[1]: filter CORS is repeated. Put all of it into one"],
    ),
    Wrong(
        "redirect and rewrite",
        http_rule(
            "filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]"
        ),
        [
            "spec.rules[0].filters[1]: RequestRedirect and URLRewrite are both given, and a redirected request goes nowhere else. Keep one of the two; a redirect can change host and path too"
        ],
    ),
    Wrong(
        "redirect and backends",
        http_rule(f"filters: [{{type: RequestRedirect, requestRedirect: {{}}}}], {TO_API}"),
        [
            "spec.rules[0].backendRefs: a rule that redirects sends nothing to backends. Remove them, or the RequestRedirect filter"
        ],
    ),
    Wrong(
        "redirect status",
        http_filter("type: RequestRedirect, requestRedirect: {statusCode: 304}"),
        [
            "spec.rules[0].filters[0].requestRedirect.statusCode: 304 is not known here. Use 301, 302, 303, 307 or 308"
        ],
    ),
    Wrong(
        "redirect scheme",
        http_filter("type: RequestRedirect, requestRedirect: {scheme: ftp}"),
        ["spec.rules[0].filters[0].requestRedirect.scheme: 'ftp' is not known here. Use http or https"],
    ),
    Wrong(
        "redirect to a wildcard",
        http_filter('type: RequestRedirect, requestRedirect: {hostname: "*.a.com"}'),
        [
            "spec.rules[0].filters[0].requestRedirect.hostname: '*.a.com' has a wildcard where none can be. Use a whole name; where wildcards are allowed they are '*.' in front"
        ],
    ),
    Wrong(
        "rewrite of a prefix that is none",
        http_rule(
            "matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]"
        ),
        [
            "spec.rules[0].filters[0].urlRewrite.path: ReplacePrefixMatch needs exactly one match in its rule, of type PathPrefix. Make a rule for each prefix, or use ReplaceFullPath"
        ],
    ),
    Wrong(
        "rewrite without its value",
        http_filter("type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}"),
        [
            "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: replaceFullPath is missing. Type ReplaceFullPath needs it"
        ],
    ),
    Wrong(
        "rewrite with both values",
        http_filter(
            "type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /a, replacePrefixMatch: /b}}"
        ),
        [
            "spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: replacePrefixMatch does not go with type ReplaceFullPath. Remove one of the two"
        ],
    ),
    Wrong(
        "rewrite to a relative path",
        http_filter("type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: a}}"),
        ["spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: 'a' does not start with '/'. Use '/a'"],
    ),
    Wrong(
        "one header changed twice",
        http_filter(
            "type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: b}], remove: [a]}"
        ),
        [
            "spec.rules[0].filters[0].requestHeaderModifier.remove[0]: header a is changed twice. Keep one change of each header"
        ],
    ),
    Wrong(
        "host as a header",
        http_filter(
            "type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: Host, value: b}], remove: [HOST]}"
        ),
        [
            "spec.rules[0].filters[0].requestHeaderModifier.add[0].name: the host can only be overwritten, and only of a request. Use a URLRewrite filter with a hostname",
            "spec.rules[0].filters[0].requestHeaderModifier.remove[0]: the host can only be overwritten, and only of a request. Use a URLRewrite filter with a hostname",
            "spec.rules[0].filters[0].requestHeaderModifier.remove[0]: header host is changed twice. Keep one change of each header",
        ],
    ),
    Wrong(
        "host of a response",
        http_filter("type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: host, value: b}]}"),
        [
            "spec.rules[0].filters[0].responseHeaderModifier.set[0].name: the host can only be overwritten, and only of a request. Use a URLRewrite filter with a hostname"
        ],
    ),
    Wrong(
        "mirror without a port",
        http_filter("type: RequestMirror, requestMirror: {backendRef: {name: api}}"),
        [
            "spec.rules[0].filters[0].requestMirror.backendRef.port: port is missing. Say which port of the Service is meant"
        ],
    ),
    Wrong(
        "mirror by two shares",
        http_filter(
            "type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}, percent: 1, fraction: {numerator: 1}}"
        ),
        [
            "spec.rules[0].filters[0].requestMirror.fraction: percent and fraction are both given. Keep one of the two"
        ],
    ),
    Wrong(
        "mirror more than all",
        http_filter(
            "type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}, fraction: {numerator: 101}}"
        ),
        [
            "spec.rules[0].filters[0].requestMirror.fraction: 101 of 100 is more than all. Use a numerator that is not larger than the denominator"
        ],
    ),
    Wrong(
        "mirror percent",
        http_filter("type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}, percent: 101}"),
        ["spec.rules[0].filters[0].requestMirror.percent: 101 is too large. Use 100 or less"],
    ),
    Wrong(
        "origin",
        http_filter("type: CORS, cors: {allowOrigins: [example.com]}"),
        [
            "spec.rules[0].filters[0].cors.allowOrigins[0]: 'example.com' is not an origin. Use '*', or http:// or https:// with a host, which may begin with '*', and a port if it is another one"
        ],
    ),
    Wrong(
        "port of an origin",
        http_filter('type: CORS, cors: {allowOrigins: ["https://a.com:70000"]}'),
        [
            "spec.rules[0].filters[0].cors.allowOrigins[0]: 'https://a.com:70000' is not an origin. Use '*', or http:// or https:// with a host, which may begin with '*', and a port if it is another one"
        ],
    ),
    Wrong(
        "any method and one",
        http_filter('type: CORS, cors: {allowMethods: ["*", GET]}'),
        [
            "spec.rules[0].filters[0].cors.allowMethods: '*' stands beside another method. Keep '*' alone, or remove it"
        ],
    ),
    Wrong(
        "age of nothing",
        http_filter("type: CORS, cors: {maxAge: 0}"),
        ["spec.rules[0].filters[0].cors.maxAge: 0 is too small. Use 1 or more"],
    ),
    # backends
    Wrong(
        "backend without a port",
        http_rule("backendRefs: [{name: api}]"),
        ["spec.rules[0].backendRefs[0].port: port is missing. Say which port of the Service is meant"],
    ),
    Wrong(
        "backend of an unknown kind",
        http_rule("backendRefs: [{kind: Deployment, name: api, port: 80}]"),
        [
            "spec.rules[0].backendRefs[0].kind: 'Deployment' is not known here. Use Service, ServiceSubset or ExternalService"
        ],
    ),
    Wrong(
        "subset in the core group",
        http_rule("backendRefs: [{kind: ServiceSubset, name: api}]"),
        [
            "spec.rules[0].backendRefs[0].group: there is no ServiceSubset in group ''. Use group: meshwright.dev"
        ],
    ),
    Wrong(
        "weight",
        http_rule("backendRefs: [{name: api, port: 80, weight: -1}]"),
        ["spec.rules[0].backendRefs[0].weight: -1 is too small. Use 0 or more"],
    ),
    Wrong(
        "too heavy",
        http_rule("backendRefs: [{name: api, port: 80, weight: 1000001}]"),
        ["spec.rules[0].backendRefs[0].weight: 1000001 is too large. Use 1000000 or less"],
    ),
    Wrong(
        "prefix of one backend",
        http_rule(
            "matches: [{path: {type: Exact, value: /a}}], backendRefs: [{name: api, port: 80, filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}}}]}]"
        ),
        [
            "spec.rules[0].backendRefs[0].filters[0].requestRedirect.path: ReplacePrefixMatch needs exactly one match in its rule, of type PathPrefix. Make a rule for each prefix, or use ReplaceFullPath"
        ],
    ),
    Wrong(
        "filter of one backend repeated",
        http_rule(
            "backendRefs: [{name: api, port: 80, filters: [{type: CORS, cors: {}}, {type: CORS, cors: {}}]}]"
        ),
        ["spec.rules[0].backendRefs[0].filters[1]: filter CORS is repeated. Put all of it into one"],
    ),
    # times, retries, sessions
    Wrong(
        "a number as duration",
        http_rule("timeouts: {request: 10}"),
        [
            "spec.rules[0].timeouts.request: 10 is not a duration. Write it with its unit, as 500ms, 10s or 1m30s"
        ],
    ),
    Wrong(
        "longer than we can write",
        http_rule("timeouts: {request: 99999h99999h}"),
        [
            "spec.rules[0].timeouts.request: '99999h99999h' is longer than eleven years. Use at most 99999h59m59s999ms"
        ],
    ),
    Wrong(
        "more attempts than there are",
        http_rule("retry: {attempts: 4294967296}"),
        ["spec.rules[0].retry.attempts: 4294967296 is too large. Use 4294967295 or less"],
    ),
    Wrong(
        "a fraction of a second",
        http_rule("timeouts: {request: 1.5s}"),
        [
            "spec.rules[0].timeouts.request: '1.5s' is not a duration. Use whole numbers of up to 5 digits, each with h, m, s or ms, as 500ms, 10s or 1m30s"
        ],
    ),
    Wrong(
        "one try longer than all",
        http_rule("timeouts: {request: 1s, backendRequest: 2s}"),
        [
            "spec.rules[0].timeouts.backendRequest: one try may take longer than the whole request. Use at most what request says"
        ],
    ),
    Wrong(
        "retry of a success",
        http_rule("retry: {codes: [200]}"),
        ["spec.rules[0].retry.codes[0]: 200 is too small. Use 400 or more"],
    ),
    Wrong(
        "retry code twice",
        http_rule("retry: {codes: [503, 503]}"),
        [
            "spec.rules[0].retry.codes[1]: code 503 is already that of rules[0].retry.codes[0]. Give each its own code"
        ],
    ),
    Wrong(
        "attempts",
        http_rule("retry: {attempts: -1}"),
        ["spec.rules[0].retry.attempts: -1 is too small. Use 0 or more"],
    ),
    Wrong(
        "idle session",
        http_rule("sessionPersistence: {idleTimeout: 1m}"),
        [
            "spec.rules[0].sessionPersistence.idleTimeout: a session cannot end by being idle: Envoy keeps no state of sessions. Remove it; a Permanent cookie ends after absoluteTimeout"
        ],
    ),
    Wrong(
        "permanent without an end",
        http_rule("sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}"),
        [
            "spec.rules[0].sessionPersistence.absoluteTimeout: absoluteTimeout is missing. Say how long a Permanent cookie is kept"
        ],
    ),
    Wrong(
        "session cookie with an end",
        http_rule("sessionPersistence: {absoluteTimeout: 1h}"),
        [
            "spec.rules[0].sessionPersistence.absoluteTimeout: only a Permanent cookie can end at a time: Envoy keeps no state of sessions. Remove it, or use cookieConfig: {lifetimeType: Permanent}"
        ],
    ),
    Wrong(
        "cookie of a header",
        http_rule("sessionPersistence: {type: Header, cookieConfig: {}}"),
        [
            "spec.rules[0].sessionPersistence.cookieConfig: a session of type Header has no cookie. Remove it, or use type: Cookie"
        ],
    ),
    # gRPC
    Wrong(
        "gRPC match of nothing",
        grpc_match("method: {type: Exact}"),
        [
            "spec.rules[0].matches[0].method: neither service nor method is given. Give one of the two, or remove this match"
        ],
    ),
    Wrong(
        "gRPC service with a slash",
        grpc_match("method: {service: a/b}"),
        [
            "spec.rules[0].matches[0].method.service: 'a/b' is not the name of a gRPC service. Use names of letters, digits and '_', separated by dots, as foo.bar.Greeter"
        ],
    ),
    Wrong(
        "gRPC method",
        grpc_match("method: {method: 1st}"),
        [
            "spec.rules[0].matches[0].method.method: '1st' is not the name of a gRPC method. Use letters, digits and '_', as SayHello"
        ],
    ),
    Wrong(
        "gRPC expression",
        grpc_match('method: {type: RegularExpression, service: "a)("}'),
        [
            "spec.rules[0].matches[0].method.service: 'a)(' is not a regular expression of RE2: unexpected ): a)(. See https://github.com/google/re2/wiki/Syntax; it has no look-around and no back-references"
        ],
    ),
    Wrong(
        "gRPC expressions that are large together",
        grpc_match('method: {type: RegularExpression, service: "[a-z]{1,30}", method: "[a-z]{1,30}"}'),
        [
            "spec.rules[0].matches[0].method: '/(?:[a-z]{1,30})/(?:[a-z]{1,30})' is too large: compiled it has 124 instructions. Envoy takes at most 100; counted repetitions such as {1,50} are what makes it large"
        ],
    ),
    Wrong(
        "gRPC redirect",
        grpc_route("rules: [{filters: [{type: RequestRedirect}]}]"),
        [
            "spec.rules[0].filters[0].type: 'RequestRedirect' is not known here. Use RequestHeaderModifier, ResponseHeaderModifier, RequestMirror or ExtensionRef"
        ],
    ),
    Wrong(
        "gRPC timeouts",
        grpc_route("rules: [{timeouts: {request: 1s}}]"),
        [
            "spec.rules[0].timeouts: unknown field 'timeouts'. Known here: name, matches, filters, backendRefs, sessionPersistence"
        ],
    ),
    # TCP and TLS
    Wrong(
        "TCP without rules",
        gateway_api("TCPRoute", "parentRefs: [{name: gw}]"),
        ["spec.rules: rules is missing. Add it"],
    ),
    Wrong(
        "TCP with two rules",
        gateway_api("TCPRoute", f"rules: [{{{TO_API}}}, {{{TO_API}}}]"),
        ["spec.rules: 2 are given. Give at most 1"],
    ),
    Wrong(
        "TCP without backends",
        gateway_api("TCPRoute", "rules: [{backendRefs: []}]"),
        ["spec.rules[0].backendRefs: the list is empty. Give at least 1"],
    ),
    Wrong(
        "TLS without host names",
        gateway_api("TLSRoute", f"rules: [{{{TO_API}}}]"),
        ["spec.hostnames: hostnames is missing. Add it"],
    ),
    Wrong(
        "a version that was never",
        gateway_api("TLSRoute", f"hostnames: [a.b], rules: [{{{TO_API}}}]", version="v1beta1"),
        [
            "apiVersion: there is no TLSRoute of 'gateway.networking.k8s.io/v1beta1'. Use apiVersion: gateway.networking.k8s.io/v1 or gateway.networking.k8s.io/v1alpha3 or gateway.networking.k8s.io/v1alpha2"
        ],
    ),
    # sets of listeners
    Wrong(
        "a set of no gateway",
        gateway_api("ListenerSet", "listeners: [{name: a, port: 80, protocol: HTTP}]"),
        ["spec.parentRef: parentRef is missing. Add it"],
    ),
    Wrong(
        "a set of a service",
        gateway_api(
            "ListenerSet",
            "parentRef: {kind: Service, name: a}, listeners: [{name: a, port: 80, protocol: HTTP}]",
        ),
        ["spec.parentRef.kind: 'Service' is not known here. Use Gateway"],
    ),
    Wrong(
        "a set without listeners",
        gateway_api("ListenerSet", "parentRef: {name: gw}, listeners: []"),
        ["spec.listeners: the list is empty. Give at least 1"],
    ),
    Wrong(
        "a set whose listeners cannot be told apart",
        gateway_api(
            "ListenerSet",
            'parentRef: {group: "", name: gw}, '
            "listeners: [{name: a, port: 80, protocol: HTTP}, {name: a, port: 80, protocol: TCP}]",
        ),
        [
            "spec.parentRef.group: there is no Gateway in group ''. Use group: gateway.networking.k8s.io",
            "spec.listeners[1].name: name a is already that of listeners[0]. Give each its own name",
            "spec.listeners[1].port: port 80 speaks HTTP for listeners[0] and cannot speak TCP too. Use another port",
        ],
    ),
    Wrong(
        "a selector of sets that says nothing",
        gateway(
            "name: a, port: 80, protocol: HTTP", more=", allowedListeners: {namespaces: {from: Selector}}"
        ),
        [
            "spec.allowedListeners.namespaces.selector: selector is missing. Say which namespaces, or use from: All"
        ],
    ),
    Wrong(
        "sets of nobody in particular",
        gateway("name: a, port: 80, protocol: HTTP", more=", allowedListeners: {namespaces: {from: Some}}"),
        ["spec.allowedListeners.namespaces.from: 'Some' is not known here. Use None, Same, All or Selector"],
    ),
    # gateways
    Wrong(
        "listener names",
        gateway("name: a, port: 80, protocol: HTTP", "name: a, port: 81, protocol: HTTP"),
        ["spec.listeners[1].name: name a is already that of listeners[0]. Give each its own name"],
    ),
    Wrong(
        "listeners that are one",
        gateway("name: a, port: 80, protocol: HTTP", "name: b, port: 80, protocol: HTTP"),
        [
            "spec.listeners[1]: port 80 and host name (any) are those of listeners[0] already. Use another port or host name"
        ],
    ),
    Wrong(
        "two protocols at a port",
        gateway(
            "name: a, port: 80, protocol: HTTP",
            "name: b, port: 80, protocol: HTTPS, hostname: a.b, tls: {certificateRefs: [{name: c}]}",
        ),
        [
            "spec.listeners[1].port: port 80 speaks HTTP for listeners[0] and cannot speak HTTPS too. Use another port"
        ],
    ),
    Wrong(
        "an unknown protocol of a listener",
        gateway("name: a, port: 80, protocol: QUIC"),
        ["spec.listeners[0].protocol: 'QUIC' is not known here. Use HTTP, HTTPS, TLS, TCP or UDP"],
    ),
    Wrong(
        "UDP with TLS and a host name",
        gateway("name: a, port: 80, protocol: UDP, hostname: a.b, tls: {certificateRefs: [{name: c}]}"),
        [
            "spec.listeners[0].tls: tls does not go with protocol UDP. Remove it, or use HTTPS or TLS",
            "spec.listeners[0].hostname: UDP knows no host names. Remove it",
        ],
    ),
    Wrong(
        "routes of connections at a port of UDP",
        gateway("name: a, port: 80, protocol: UDP, allowedRoutes: {kinds: [{kind: TCPRoute}]}"),
        [
            "spec.listeners[0].allowedRoutes.kinds[0]: TCPRoute does not fit a listener of protocol UDP. Use UDPRoute"
        ],
    ),
    Wrong(
        "one port of UDP twice",
        gateway(
            "name: a, port: 80, protocol: TCP",
            "name: b, port: 80, protocol: UDP",
            "name: c, port: 80, protocol: UDP",
        ),
        [
            "spec.listeners[2]: port 80 and host name (any) are those of listeners[1] already. Use another port or host name"
        ],
    ),
    Wrong(
        "a route of datagrams without backends",
        gateway_api("UDPRoute", "parentRefs: [{name: gw}], rules: [{backendRefs: []}]"),
        ["spec.rules[0].backendRefs: the list is empty. Give at least 1"],
    ),
    Wrong(
        "a route of datagrams by host name",
        gateway_api("UDPRoute", f"hostnames: [a.b], rules: [{{{TO_API}}}]"),
        ["spec.hostnames: unknown field 'hostnames'. Known here: parentRefs, rules"],
    ),
    Wrong(
        "a service outside that speaks UDP",
        "---\napiVersion: meshwright.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: a}\n"
        "spec: {hosts: [a.b], ports: [{name: a, port: 53, protocol: udp}]}\n",
        [
            "spec.ports[0].protocol: nothing sends udp outside the mesh. Declare a Service and a Workload with the address outside, and no sidecar"
        ],
    ),
    Wrong(
        "HTTPS without tls",
        gateway("name: a, port: 443, protocol: HTTPS"),
        ["spec.listeners[0].tls: tls is missing. A listener of protocol HTTPS needs it"],
    ),
    Wrong(
        "HTTP with tls",
        gateway("name: a, port: 80, protocol: HTTP, tls: {mode: Passthrough}"),
        ["spec.listeners[0].tls: tls does not go with protocol HTTP. Remove it, or use HTTPS or TLS"],
    ),
    Wrong(
        "HTTPS passed through",
        gateway("name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}"),
        ["spec.listeners[0].tls.mode: HTTPS cannot be passed through. Use protocol: TLS, or mode: Terminate"],
    ),
    Wrong(
        "no certificate",
        gateway("name: a, port: 443, protocol: HTTPS, tls: {}"),
        [
            "spec.listeners[0].tls.certificateRefs: certificateRefs is missing. Name a Secret, or use mode: Passthrough"
        ],
    ),
    Wrong(
        "TCP with a host name",
        gateway("name: a, port: 1, protocol: TCP, hostname: a.b"),
        ["spec.listeners[0].hostname: TCP knows no host names. Remove it"],
    ),
    Wrong(
        "routes that do not fit",
        gateway("name: a, port: 1, protocol: TCP, allowedRoutes: {kinds: [{kind: HTTPRoute}]}"),
        [
            "spec.listeners[0].allowedRoutes.kinds[0]: HTTPRoute does not fit a listener of protocol TCP. Use TCPRoute"
        ],
    ),
    Wrong(
        "selector missing",
        gateway("name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}"),
        [
            "spec.listeners[0].allowedRoutes.namespaces.selector: selector is missing. Say which namespaces, or use from: All"
        ],
    ),
    Wrong(
        "selector without values",
        gateway(
            "name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: In}]}}}"
        ),
        [
            "spec.listeners[0].allowedRoutes.namespaces.selector.matchExpressions[0].values: values is missing. Operator In needs one or more"
        ],
    ),
    Wrong(
        "address of a gateway",
        gateway("name: a, port: 80, protocol: HTTP", more=", addresses: [{value: here}]"),
        ["spec.addresses[0].value: 'here' is not an IP address. Use an IPv4 or IPv6 address"],
    ),
    Wrong(
        "option of TLS",
        gateway(
            "name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}], options: {example.com/x: y}}"
        ),
        ["spec.listeners[0].tls.options.example.com/x: option 'example.com/x' is not known. Remove it"],
    ),
    # grants, TLS to backends, subsets
    Wrong(
        "grant of nobody",
        gateway_api("ReferenceGrant", 'from: [], to: [{group: "", kind: Service}]'),
        ["spec.from: the list is empty. Give at least 1"],
    ),
    Wrong(
        "grant to a group",
        gateway_api(
            "ReferenceGrant",
            f"from: [{{group: {GROUP}, kind: HTTPRoute, namespace: a}}], to: [{{group: apps, kind: Service}}]",
        ),
        ["spec.to[0].group: there is no Service in group 'apps'. Use group: \"\" or meshwright.dev"],
    ),
    Wrong(
        "grant without a group",
        gateway_api(
            "ReferenceGrant", 'from: [{kind: HTTPRoute, namespace: a}], to: [{group: "", kind: Service}]'
        ),
        ["spec.from[0].group: group is missing. Add it"],
    ),
    Wrong(
        "authorities missing",
        gateway_api("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: a.b}"),
        [
            "spec.validation: neither of caCertificateRefs and wellKnownCACertificates is given. Give exactly one of the two"
        ],
    ),
    Wrong(
        "authorities twice",
        gateway_api(
            "BackendTLSPolicy",
            "targetRefs: [{name: a}], validation: {hostname: a.b, wellKnownCACertificates: System, caCertificateRefs: [{kind: ConfigMap, name: c}]}",
        ),
        [
            "spec.validation: both caCertificateRefs and wellKnownCACertificates are given. Give exactly one of the two"
        ],
    ),
    Wrong(
        "name without its value",
        gateway_api(
            "BackendTLSPolicy",
            "targetRefs: [{name: a}], validation: {hostname: a.b, wellKnownCACertificates: System, subjectAltNames: [{type: URI, hostname: a.b}]}",
        ),
        [
            "spec.validation.subjectAltNames[0].uri: uri is missing. A name of type URI needs it",
            "spec.validation.subjectAltNames[0].hostname: hostname does not go with type URI. Give each name an element",
        ],
    ),
    Wrong(
        "target twice",
        gateway_api(
            "BackendTLSPolicy",
            "targetRefs: [{name: a}, {name: a, sectionName: b}], validation: {hostname: a.b, wellKnownCACertificates: System}",
        ),
        [
            "spec.targetRefs[1]: Service default/a is a target as a whole too. Give a sectionName to each, or to none"
        ],
    ),
    Wrong(
        "subset of all",
        "apiVersion: meshwright.dev/v1alpha1\nkind: ServiceSubset\nmetadata: {name: v2}\nspec: {service: api, labels: {}}\n",
        ["spec.labels: the mapping is empty. Give at least 1"],
    ),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_what_is_said_of_a_wrong_document(wrong: Wrong) -> None:
    parsed = parse("a.yaml", wrong.text.encode())
    assert what_is_said(parsed.errors) == wrong.said
    assert parsed.documents == ()


def test_the_names_of_the_cases_differ() -> None:
    assert len({wrong.name for wrong in WRONG}) == len(WRONG)


def test_it_is_said_which_document_of_which_file_is_wrong() -> None:
    (error,) = parse("b.yaml", (http_route() + http_rule("retry: {codes: [200]}")).encode()).errors
    assert str(error) == (
        "b.yaml:10, document 2 (HTTPRoute default/api), spec.rules[0].retry.codes[0]: 200 is too small. Use 400 or more"
    )
