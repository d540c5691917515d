"""The quarantine as the API shows it."""

from __future__ import annotations

from api.shapes.quarantine import Quarantined
from meshwright.quarantine.book import Told

SHOWN = 20
"""Proxies that are named."""


def shown(told: Told) -> Quarantined:
    case = told.case
    kind, key = case.name
    instead = "itself" if told.instead is None else "nothing" if told.instead.value is None else "earlier"
    return Quarantined.model_validate(
        {
            "kind": kind,
            "namespace": key.namespace,
            "name": key.name,
            "revision": case.revision,
            "envoy": case.envoy,
            "active": told.active,
            "scope": "all" if case.for_all else "some",
            "verdict": case.verdict.value,
            "instead": instead,
            "proxies": sorted(case.clients)[:SHOWN],
            "refusedBy": len(case.clients),
            "resource": case.resource,
            "message": case.message,
            "origin": case.origin,
            "since": case.since,
        }
    )
