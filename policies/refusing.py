"""How a refusal leads to the policies behind it: routes carry their names, and access logs show them; clients are told nothing.

Names stand in the metadata of the route, a namespace for each kind, for of one namespace that two parts speak of only the last would count.
"""

from __future__ import annotations

from typing import Final

from pb.envoy.config.route.v3.route_components_pb2 import Route

NAMESPACE: Final = "meshwright.dev/"
POLICY: Final = "policy"


def name_policy(route: Route, kind: str, policy: str) -> None:
    """Say on `route` that requests on it are subject to `policy` of `kind`, `<namespace>/<name>`, several with commas between."""
    route.metadata.filter_metadata[NAMESPACE + kind].fields[POLICY].string_value = f"{kind} {policy}"


def expression(kind: str) -> str:
    """In CEL, for a field of an access log: the kind and the policy that a route names. (Envoy's CEL does not join texts.)"""
    return f"xds.route_metadata.filter_metadata['{NAMESPACE}{kind}']['{POLICY}']"
