"""All checks, by code. Codes stay: one that is dropped is never given to another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshwright.analysis import live, policies, routes, security, services
from meshwright.analysis.finding import Check

CHECKS: Final[tuple[Check, ...]] = (
    *services.CHECKS,
    *routes.CHECKS,
    *policies.CHECKS,
    *security.CHECKS,
    *live.CHECKS,
)


def chosen(codes: Iterable[str]) -> tuple[Check, ...]:
    """Those whose code begins with one of `codes`; KeyError for one that none has."""
    found: dict[str, Check] = {}
    for code in codes:
        matching = [each for each in CHECKS if each.code.startswith(code.upper())]
        if not matching:
            raise KeyError(code)
        found.update({each.code: each for each in matching})
    return tuple(found.values())
