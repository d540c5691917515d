"""A plan as people read it: lines, without colours; whoever prints them may add some. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from api.shapes.plan import EnvoyCheck, FieldDifference, PlanAnswer, ResourceDifference

SIGNS = {"added": "+", "changed": "~", "removed": "-"}
FEW = 3
"""Names and proxies that a line says; of more, how many there are."""
CHARACTERS = 100
"""Of a value."""


def lines(plan: PlanAnswer) -> Iterator[str]:
    if plan.refused:
        yield "It would be refused:"
        yield from (f"  {each}" for each in plan.refused)
        yield ""
    if not plan.documents and not plan.resources:
        yield "Nothing changes."
        yield ""
    if plan.documents:
        yield "Documents"
        for each in plan.documents:
            yield f"  {SIGNS[each.change]} {each.document}"
            yield from fields(each.fields, each.more_fields, "      ")
        yield from _more(plan.more_documents, "documents", "  ")
        yield ""
        if plan.resources:
            yield f"Resources, for {plan.proxies} of {_count(plan.of_proxies, 'proxy', 'proxies')}"
            yield from resources(plan.resources, plan.more_resources)
            yield from _more(plan.hidden_proxies, "proxies, of namespaces that you may not view", "  ")
        elif plan.hidden_proxies:
            yield f"Resources, for {_count(plan.hidden_proxies, 'proxy', 'proxies')} of namespaces that you may not view"
        else:
            yield f"No proxy is given anything else ({_count(plan.of_proxies, 'proxy is', 'proxies are')} looked at)."
        yield ""
    if plan.warnings:
        yield "Warnings"
        for warning in plan.warnings:
            subject = f"{warning.document}: " if warning.document else ""
            yield f"  {warning.about}: {subject}{warning.text}"
        yield from _more(plan.more_warnings, "warnings", "  ")
        yield ""
    yield from check(plan.check)


def folded(line: str, width: int | None) -> list[str]:
    """`line` as it stands on a terminal of that width: broken between words alone, further lines further in. None: there is no width."""
    if width is None or len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def resources(changes: Sequence[ResourceDifference], more: int) -> Iterator[str]:
    """An entry for each, under a heading for each set of proxies."""
    heading = ""
    for each in sorted(changes, key=lambda change: (-change.of_proxies, change.proxies)):
        some = ", some of it for each" if each.scattered else ""
        whom = f"  for {listed(each.proxies, each.of_proxies)}{some}"
        if whom != heading:
            heading = whom
            yield heading
        drains = ": its connections are drained" if each.drains else ""
        yield f"    {SIGNS[each.change]} {each.type} {listed(each.names, each.of_names)}{drains}"
        if not each.compared:
            yield "        (too many differ to say which fields)"
        yield from fields(each.fields, each.more_fields, "        ")
    yield from _more(more, "changes", "    ")


def fields(changes: Iterable[FieldDifference], more: int, indent: str) -> Iterator[str]:
    for each in changes:
        path = each.path or "(all of it)"
        if each.before is None:
            yield f"{indent}+ {path}: {_cut(each.after)}"
        elif each.after is None:
            yield f"{indent}- {path}: {_cut(each.before)}"
        else:
            yield f"{indent}~ {path}: {_cut(each.before)} → {_cut(each.after)}"
    yield from _more(more, "fields", indent)


def check(found: EnvoyCheck) -> Iterator[str]:
    if found.result == "not-run":
        yield f"Not checked by Envoy: {found.text}"
        return
    shown = f"{found.checked} of {_count(found.configurations, 'distinct configuration', 'distinct configurations')}"
    if found.result == "valid":
        yield f"Envoy takes it ({shown} checked)."
        if found.text:
            yield f"  {found.text}"
        return
    yield f"Envoy refuses it ({shown} checked):"
    yield from (f"  {line}" for line in found.text.splitlines())


def listed(names: Sequence[str], of: int) -> str:
    """`a, b, c and 497 more`."""
    said = ", ".join(names[:FEW])
    return said if of <= FEW else f"{said} and {of - FEW} more"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _more(number: int, what: str, indent: str) -> Iterator[str]:
    if number:
        yield f"{indent}… and {number} more {what}"


def _cut(text: str | None) -> str:
    said = text or ""
    return said if len(said) <= CHARACTERS else f"{said[:CHARACTERS]}…"
