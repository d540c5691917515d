"""Documents that are right by all that we check, and make resources that Envoy refuses; and what the same documents are when corrected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.mesh import Instance, a_document

TYPE = "type.googleapis.com/envoy.extensions."
MANAGER = "envoy.filters.network.http_connection_manager"
Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Poison:
    """`says`: a part of Envoy's own words. `resource`: what it refuses, as it is told. `shown`: whether an Envoy of the control plane may be
    asked about it, which runs no code and reads no file that a document names.
    """

    kind: str
    bad: Spec
    good: Spec
    resource: str
    says: str
    shown: bool = True

    @property
    def name(self) -> str:
        return self.says.lower().replace(" ", "-").strip("-")[:20].strip("-")

    def document(self, spec: Spec, name: str = "poison") -> dict[str, Any]:
        # What stands in it twice is written out twice, without a YAML alias.
        return a_document(self.kind, name, json.loads(json.dumps(spec)))


def of_cluster(bad: Spec, says: str) -> Poison:
    def spec(merge: Spec) -> Spec:
        return {**_patch("Cluster", "default/api:80"), "merge": merge}

    good = {"perConnectionBufferLimitBytes": 65536}
    return Poison("EnvoyPatch", spec(bad), spec(good), "Cluster default/api:80", says)


def of_routes(bad: Spec, says: str, *, shown: bool = True) -> Poison:
    def spec(merge: Spec) -> Spec:
        return {**_patch("RouteConfiguration", "default/api"), "merge": merge}

    good = {"responseHeadersToAdd": [{"header": {"key": "x-corrected", "value": "yes"}}]}
    return Poison("EnvoyPatch", spec(bad), spec(good), "RouteConfiguration default/api", says, shown)


def of_listener(api: Instance, bad: Spec, says: str) -> Poison:
    name = f"inbound/{api.sidecar_port}"

    def spec(merge: Spec) -> Spec:
        target = {"kind": "Workload", "name": api.name}
        return {"targetRefs": [target], "resource": "Listener", "name": name, "merge": merge}

    good = _manager({"via": "corrected"})
    return Poison("EnvoyPatch", spec(bad), spec(good), f"Listener {name}", says)


def poisons(api: Instance) -> tuple[Poison, ...]:
    """Of clusters, routes and listeners: all are valid messages, whose constraints hold."""
    lua = {"sourceCode": {"inlineString": "function ("}}
    answer = {
        "name": "answer",
        "typedConfig": {"@type": f"{TYPE}filters.network.direct_response.v3.Config"},
    }
    same = {"filterChainMatch": {"serverNames": ["same.test"]}, "filters": [answer]}
    backwards = {"path": "/", "expectedStatuses": [{"start": 300, "end": 200}]}
    check = {"timeout": "1s", "interval": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1}
    wasm = {"file": "/nowhere/module.wasm", "sha256": "0" * 64}
    return (
        of_cluster({"type": "STRICT_DNS"}, "eds_cluster_config set in a non-EDS cluster"),
        of_cluster({"lbPolicy": "CLUSTER_PROVIDED"}, "cluster provided LB specified"),
        of_cluster(
            {"healthChecks": [{**check, "httpHealthCheck": backwards}]}, "Invalid http expected status range"
        ),
        of_routes(_more({"match": {"safeRegex": {"regex": "("}}}), "missing )"),
        of_routes(
            _more(
                {
                    "match": {"prefix": "/"},
                    "typedPerFilterConfig": {
                        "lua": {"@type": f"{TYPE}filters.http.lua.v3.LuaPerRoute", **lua}
                    },
                }
            ),
            "script load error",
            shown=False,
        ),
        of_routes(
            {"responseHeadersToAdd": [{"header": {"key": "x", "value": "%NO_SUCH(%"}}]},
            "Incorrect configuration",
        ),
        of_listener(
            api,
            {"filterChains": [{"name": "one", **same}, {"name": "two", **same}]},
            "has the same matching rules",
        ),
        of_listener(
            api,
            _manager(
                {
                    "httpFilters": [
                        {"name": "second", "typedConfig": {"@type": f"{TYPE}filters.http.router.v3.Router"}}
                    ]
                }
            ),
            "must be the last filter",
        ),
        of_listener(
            api,
            _manager(
                {
                    "accessLog": [
                        {
                            "name": "log",
                            "typedConfig": {
                                "@type": f"{TYPE}access_loggers.stream.v3.StdoutAccessLog",
                                "logFormat": {"textFormatSource": {"inlineString": "%NO_SUCH%"}},
                            },
                        }
                    ]
                }
            ),
            "Not supported field",
        ),
        of_listener(
            api,
            {"additionalAddresses": [{"address": {"socketAddress": {"address": "no", "portValue": 1}}}]},
            "malformed IP address",
        ),
        Poison(
            "Extension",
            {"targetRefs": [_SERVICE], "side": "caller", "wasm": wasm},
            {"targetRefs": [_SERVICE], "side": "caller", "lua": "function envoy_on_request(handle) end"},
            "RouteConfiguration default/api",
            "Invalid path",
            shown=False,
        ),
    )


_SERVICE = {"kind": "Service", "name": "api"}


def _patch(resource: str, name: str) -> Spec:
    return {"targetRefs": [_SERVICE], "resource": resource, "name": name}


def _more(route: Spec) -> Spec:
    """One more virtual host, with one route."""
    routes = [{**route, "directResponse": {"status": 200}}]
    return {"virtualHosts": [{"name": "more", "domains": ["more.test"], "routes": routes}]}


def _manager(said: Spec) -> Spec:
    manager = {"@type": f"{TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager", **said}
    return {
        "filterChains": [{"name": "default/api:80", "filters": [{"name": MANAGER, "typedConfig": manager}]}]
    }
