"""The control plane's own names: its identity, and the DNS name by which every agent and Envoy knows it."""

from __future__ import annotations

from mesh.identity import Identity

NAMESPACE = "meshwright"
SERVICE_ACCOUNT = "control-plane"


def identity(trust_domain: str) -> Identity:
    """`spiffe://<trust domain>/ns/meshwright/sa/control-plane`: never given to a workload."""
    return Identity(trust_domain, NAMESPACE, SERVICE_ACCOUNT)


def is_control_plane(other: Identity) -> bool:
    return other == identity(other.trust_domain)


def server_name(trust_domain: str) -> str:
    """`control-plane.meshwright.<trust domain>`, a DNS SAN of every certificate of the control plane and of no other.

    A client that cannot match URIs (gRPC in Python) proves by it that it talks to the control plane: only the control
    plane's certificates have DNS names at all.
    """
    return f"{SERVICE_ACCOUNT}.{NAMESPACE}.{trust_domain}"
