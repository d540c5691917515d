"""What another version would send, as it is told: bounded, whatever its size."""

from __future__ import annotations

import importlib.metadata

from api.shapes.upgrade import UpgradeAnswer
from meshwright.plan.shown import ENTRIES, beyond, resources
from meshwright.plan.snapshot import Snapshot
from meshwright.plan.upgrade import upgrade


def answer(snapshot: Snapshot) -> UpgradeAnswer:
    """What this version makes of `snapshot`."""
    found = upgrade(snapshot)
    return UpgradeAnswer(
        running=found.version,
        version=importlib.metadata.version("meshwright"),
        resources=resources(found.resources),
        more_resources=beyond(found.resources),
        refused=found.refused[:ENTRIES],
        not_sent=tuple(f"{subject}: {why}" for subject, why in found.problems[:ENTRIES]),
        drains=len({client for each in found.resources if each.drains for client in each.proxies}),
        proxies=found.proxies,
        of_proxies=found.of_proxies,
        left_out=found.editions,
    )
