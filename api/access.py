"""The one table of who may what: a line for each route. A route without one is not served, and a test says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from api.errors import Forbidden
from api.roles import Caller, Role


class Where(Enum):
    """In which namespace a role is needed."""

    EVERYWHERE = "everywhere"
    """In all: what the route tells or does belongs to no namespace."""
    PATH = "path"
    """In that of the path, its `{namespace}`."""
    EACH = "each"
    """Somewhere at least; the route itself shows, or lets do, only what belongs to namespaces where its caller has the role."""


@dataclass(frozen=True, slots=True)
class Need:
    role: Role
    where: Where = Where.EVERYWHERE


PUBLIC: Final = None
"""For routes that tell nobody anything that is not in our documentation."""

NEEDS: Final[Mapping[str, Need | None]] = {
    "GET /openapi.json": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /api/v1/documents": Need(Role.VIEWER, Where.EACH),
    "POST /api/v1/documents": Need(Role.EDITOR, Where.EACH),
    "GET /api/v1/documents/{kind}/{namespace}/{name}": Need(Role.VIEWER, Where.PATH),
    "PUT /api/v1/documents/{kind}/{namespace}/{name}": Need(Role.EDITOR, Where.PATH),
    "PATCH /api/v1/documents/{kind}/{namespace}/{name}": Need(Role.EDITOR, Where.PATH),
    "DELETE /api/v1/documents/{kind}/{namespace}/{name}": Need(Role.EDITOR, Where.PATH),
    "POST /api/v1/batch": Need(Role.EDITOR, Where.EACH),
    # Whoever may write must be able to wait: all are told how far it is, and names only of namespaces that they may view.
    "GET /api/v1/revisions/{number}/acknowledgements": Need(Role.VIEWER, Where.EACH),
    # Of a revision, each is shown what it did in namespaces that they may view.
    "GET /api/v1/revisions": Need(Role.VIEWER, Where.EACH),
    "GET /api/v1/revisions/{number}": Need(Role.VIEWER, Where.EACH),
    "GET /api/v1/revisions/{number}/documents": Need(Role.VIEWER, Where.EACH),
    "GET /api/v1/revisions/{number}/diff": Need(Role.VIEWER, Where.EACH),
    "POST /api/v1/rollback": Need(Role.EDITOR),
    "GET /api/v1/watch": Need(Role.VIEWER, Where.EACH),
    "GET /api/v1/analyze": Need(Role.VIEWER),
    "GET /api/v1/status": Need(Role.VIEWER),
    "GET /api/v1/services": Need(Role.VIEWER, Where.EACH),
    "GET /api/v1/workloads": Need(Role.VIEWER, Where.EACH),
    "GET /api/v1/proxies": Need(Role.VIEWER, Where.EACH),
    "GET /api/v1/proxies/{namespace}/{workload}": Need(Role.VIEWER, Where.PATH),
    # It has what its workload may know of other namespaces, and patches that may hold anything.
    "GET /api/v1/proxies/{namespace}/{workload}/config-dump": Need(Role.VIEWER),
    "GET /api/v1/sources": Need(Role.VIEWER),
    "GET /api/v1/certificates": Need(Role.VIEWER),
    "GET /api/v1/plaintext": Need(Role.VIEWER),
    "POST /api/v1/holds/release": Need(Role.ADMIN),
    "POST /api/v1/holds/release/{namespace}/{service}": Need(Role.EDITOR, Where.PATH),
    "GET /api/v1/ca": Need(Role.VIEWER),
    "POST /api/v1/ca/rotate": Need(Role.ADMIN),
    "POST /api/v1/ca/abort": Need(Role.ADMIN),
    "POST /api/v1/ca/proceed": Need(Role.ADMIN),
    "POST /api/v1/ca/forget/{namespace}/{workload}": Need(Role.ADMIN),
    # Whoever makes a token can be what it is for.
    "GET /api/v1/tokens": Need(Role.ADMIN),
    "POST /api/v1/tokens": Need(Role.ADMIN),
    "DELETE /api/v1/tokens/{token}": Need(Role.ADMIN),
    "GET /api/v1/api-tokens": Need(Role.ADMIN),
    "POST /api/v1/api-tokens": Need(Role.ADMIN),
    "DELETE /api/v1/api-tokens/{token}": Need(Role.ADMIN),
    # Lines of the control plane name every peer, and paths of requests are what users do.
    "GET /api/v1/logs": Need(Role.EDITOR),
    "GET /api/v1/logs/{namespace}/{workload}": Need(Role.EDITOR, Where.PATH),
    "GET /api/v1/top": Need(Role.VIEWER),
    # It shows routes, endpoints and policies of all whom a request meets.
    "POST /api/v1/explain": Need(Role.VIEWER),
    # Envoy is shown what would be written: nobody has it read what they may not write.
    "POST /api/v1/plan": Need(Role.EDITOR, Where.EACH),
    "GET /api/v1/quarantine": Need(Role.VIEWER, Where.EACH),
    "POST /api/v1/quarantine/{kind}/{namespace}/{name}/release": Need(Role.EDITOR, Where.PATH),
    # Those whose documents are all of namespaces that they may view.
    "GET /api/v1/rollouts": Need(Role.VIEWER, Where.EACH),
    "GET /api/v1/rollouts/{rollout}": Need(Role.VIEWER, Where.EACH),
    # It concerns documents and proxies of any namespace.
    "POST /api/v1/rollouts/{rollout}/promote": Need(Role.EDITOR),
    "POST /api/v1/rollouts/{rollout}/abort": Need(Role.EDITOR),
    "POST /api/v1/rollouts/{rollout}/pause": Need(Role.EDITOR),
    "POST /api/v1/rollouts/{rollout}/resume": Need(Role.EDITOR),
    "GET /api/v1/upgrade-check": Need(Role.ADMIN),
}
"""By method and path of the route."""


def check(need: Need | None, caller: Caller, namespace: str | None) -> None:
    """Forbidden, with what is lacking, if `caller` may not. `namespace` is that of the path, if it has one."""
    if need is None:
        return
    if need.where is Where.EACH:
        allowed, place = caller.may_somewhere(need.role), "in any namespace"
    elif need.where is Where.PATH:
        allowed, place = caller.may(need.role, namespace), f"in namespace {namespace}"
    else:
        allowed, place = caller.may(need.role), "in all namespaces"
    if not allowed:
        raise Forbidden(
            f"{caller.name} is not {need.role} {place}: use a token with that role, or ask an admin for one "
            "(`meshwright api-token create`)"
        )
