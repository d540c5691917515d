"""All routes, in the order in which the documentation shows them. A new module of routes gets its line here, and its routes theirs in `api.access`."""

from __future__ import annotations

from typing import Final

from api.routes import (
    acknowledgements,
    analysis,
    batch,
    ca,
    description,
    document_writes,
    documents,
    explain,
    logs,
    mesh,
    plan,
    quarantine,
    revisions,
    rollouts,
    tokens,
    upgrade_check,
)
from api.routing import Route

ROUTES: Final[tuple[Route, ...]] = (
    *documents.ROUTES,
    *document_writes.ROUTES,
    *batch.ROUTES,
    *revisions.ROUTES,
    *mesh.ROUTES,
    *ca.ROUTES,
    *tokens.ROUTES,
    *plan.ROUTES,
    *explain.ROUTES,
    *upgrade_check.ROUTES,
    *acknowledgements.ROUTES,
    *rollouts.ROUTES,
    *quarantine.ROUTES,
    *analysis.ROUTES,
    *logs.ROUTES,
    *description.ROUTES,
)
