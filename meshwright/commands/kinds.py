"""The kinds of documents by whatever people type: any case, the plural, or a short name.

A list of its own, since the registry (`policies.registry.KINDS`) is slow to import and completion is not to be; a test holds
the two together.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from meshwright.errors import UsageError

SHORT: Mapping[str, tuple[str, ...]] = {
    "Service": ("svc",),
    "Workload": ("wl",),
    "ServiceSubset": ("subset", "ss"),
    "Secret": (),
    "ExternalService": ("es",),
    "HTTPRoute": ("hr", "route"),
    "GRPCRoute": ("gr",),
    "TCPRoute": (),
    "TLSRoute": (),
    "UDPRoute": (),
    "Gateway": ("gw",),
    "ListenerSet": ("ls",),
    "ReferenceGrant": ("rg",),
    "BackendTLSPolicy": ("btls",),
    "AccessPolicy": ("access", "ap"),
    "AccessLog": ("al",),
    "Buffering": (),
    "Compression": (),
    "Concurrency": (),
    "ConnectionLimit": (),
    "EgressPolicy": ("egress",),
    "EnvoyPatch": ("patch",),
    "Extension": ("ext",),
    "ExternalAuthorization": ("extauthz",),
    "FaultInjection": ("fault", "fi"),
    "CircuitBreaker": ("cb",),
    "HealthCheck": ("hc",),
    "LoadBalancing": ("lb",),
    "MeshTLS": ("mtls",),
    "Metrics": (),
    "OutlierDetection": ("od",),
    "RateLimit": ("rl",),
    "RequestAuthentication": ("ra", "jwt"),
    "TimeoutPolicy": ("timeout", "tp"),
    "RetryPolicy": ("retry", "rp"),
    "RolloutPolicy": ("rollout",),
    "Tracing": (),
}
"""Every kind of document, and what it may be called for short."""


def kind_of(text: str) -> str:
    """`hr`, `httproutes` and `HTTPRoute` are all HTTPRoute. UsageError, with what was probably meant, for what is no kind."""
    known = _known()
    found = known.get(text.lower())
    if found is not None:
        return found
    near = difflib.get_close_matches(text.lower(), list(known), n=1, cutoff=0.6)
    meant = f"did you mean {known[near[0]]}?" if near else f"there are {', '.join(SHORT)}"
    raise UsageError(f"{text!r} is no kind of document: {meant}")


def _known() -> dict[str, str]:
    known: dict[str, str] = {}
    for kind, short in SHORT.items():
        name = kind.lower()
        plural = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
        known |= dict.fromkeys((name, plural, *short), kind)
    return known
