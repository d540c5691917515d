"""All routes, in the order in which the documentation shows them. A new module of routes gets its line here, and its routes theirs in `api.access`."""

from __future__ import annotations

from typing import Final

from api.routes import acknowledgements, documents, logs, plan, revisions, status, upgrade_check
from api.routing import Route

ROUTES: Final[tuple[Route, ...]] = (
    *documents.ROUTES,
    *revisions.ROUTES,
    *status.ROUTES,
    *plan.ROUTES,
    *upgrade_check.ROUTES,
    *acknowledgements.ROUTES,
    *logs.ROUTES,
)
