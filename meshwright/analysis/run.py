"""Run the checks of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshwright.analysis.catalogue import CHECKS
from meshwright.analysis.finding import RANK, Check, Finding, Found
from meshwright.analysis.sight import Sight


def analyze(sight: Sight, checks: Iterable[Check] = CHECKS) -> tuple[Finding, ...]:
    """What they find: the worst first, then by code and subject. A check that fails is a finding itself and ends nothing."""
    found = [Finding(check, each) for check in checks for each in _looked(check, sight)]
    return tuple(
        sorted(found, key=lambda each: (RANK[each.check.severity], each.check.code, each.found.subject))
    )


def _looked(check: Check, sight: Sight) -> Iterator[Found]:
    try:
        yield from check.look(sight)
    except Exception as error:  # noqa: BLE001 (one check that trips over a mesh nobody thought of must not hide what the others see)
        yield Found(
            "meshwright",
            f"the check itself failed, which is a mistake of ours: {type(error).__name__}: {error}",
        )
