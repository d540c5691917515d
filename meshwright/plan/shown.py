"""A plan as it is told: bounded, whatever its size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from api.shapes.plan import (
    DocumentDifference,
    EnvoyCheck,
    FieldDifference,
    PlanAnswer,
    PlanWarning,
    ResourceDifference,
)
from meshwright.plan.caveats import Caveat
from meshwright.plan.difference import FieldChange
from meshwright.plan.grouping import ResourceChange
from meshwright.plan.reckoned import DocumentChange, Plan
from xds.types import short_name

ENTRIES, NAMED, FIELDS, CHARACTERS = 200, 20, 30, 400
"""At most so many entries of a list, names or proxies of one, fields of one, and characters of a value."""
ALL_FIELDS = 1_000
"""Of all entries together."""


def answer(plan: Plan, check: EnvoyCheck) -> PlanAnswer:
    return PlanAnswer(
        documents=tuple(map(_document, plan.documents[:ENTRIES])),
        more_documents=beyond(plan.documents),
        resources=resources(plan.resources),
        more_resources=beyond(plan.resources),
        warnings=tuple(map(_warning, plan.caveats[:ENTRIES])),
        more_warnings=beyond(plan.caveats),
        refused=plan.refused[:ENTRIES],
        proxies=plan.proxies,
        of_proxies=plan.of_proxies,
        hidden_proxies=plan.hidden,
        check=check,
    )


def resources(changes: Sequence[ResourceChange]) -> tuple[ResourceDifference, ...]:
    left, made = ALL_FIELDS, list[ResourceDifference]()
    for each in changes[:ENTRIES]:
        made.append(_resource(each, min(FIELDS, left)))
        left -= len(made[-1].fields)
    return tuple(made)


def beyond(entries: Sequence[object]) -> int:
    return max(0, len(entries) - ENTRIES)


def _document(change: DocumentChange) -> DocumentDifference:
    return DocumentDifference(
        document=f"{change.kind} {change.name}",
        change=change.sort.value,
        fields=_fields(change.fields),
        more_fields=max(0, len(change.fields) - FIELDS),
    )


def _resource(change: ResourceChange, most: int) -> ResourceDifference:
    return ResourceDifference(
        type=short_name(change.type_url),
        change=change.sort.value,
        names=change.names[:NAMED],
        of_names=len(change.names),
        proxies=change.proxies[:NAMED],
        of_proxies=len(change.proxies),
        fields=_fields(change.fields[:most]),
        more_fields=max(0, len(change.fields) - most) + change.more,
        compared=change.compared,
        documents=change.origin[:NAMED],
        scattered=change.scattered,
        drains=change.drains,
    )


def _warning(caveat: Caveat) -> PlanWarning:
    return PlanWarning(about=caveat.sort.value, document=caveat.document, text=caveat.text)


def _fields(changes: Iterable[FieldChange]) -> tuple[FieldDifference, ...]:
    return tuple(
        FieldDifference(path=each.path, before=_cut(each.before), after=_cut(each.after))
        for each in tuple(changes)[:FIELDS]
    )


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"
