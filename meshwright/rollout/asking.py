"""`apply --stage 5%,50%,100%`: a plan in a few letters."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from documents.durations import parse
from mesh.rollout import Plan, Stage

BAKE: Final = timedelta(minutes=2)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)%")
WAY: Final = (
    "write shares, zones and labels in their order, as 5%,50%,100% or zone=a,50% or label=track=canary,100%"
)


def plan(text: str, bake: str | None = None) -> Plan:
    """ValueError, saying what would be right, if `text` is no plan, or `bake` no duration (GEP-2257)."""
    try:
        seconds = (parse(bake) if bake is not None else BAKE).total_seconds()
    except ValueError as error:
        raise ValueError(f"bake: {error}: write it like 500ms, 30s or 2m") from error
    stages = tuple(_stage(each.strip(), seconds) for each in text.split(","))
    shares = [each.share for each in stages if each.share is not None]
    if shares != sorted(set(shares)) or 0 in shares:
        raise ValueError(f"stage {text!r}: each share has to be larger than the one before: {WAY}")
    return Plan(stages)


def _stage(text: str, bake: float) -> Stage:
    percent = _PERCENT.fullmatch(text)
    if percent is not None and float(percent[1]) <= 100:
        return Stage(bake, share=float(percent[1]))
    what, _, value = text.partition("=")
    if what == "zone" and value:
        return Stage(bake, zones=(value,))
    name, _, of_label = value.partition("=")
    if what == "label" and name and of_label:
        return Stage(bake, labels=((name, of_label),))
    raise ValueError(f"stage {text!r}: {WAY}")
