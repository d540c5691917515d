"""`meshwright describe`: all that is known of one document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshwright.commands.documents import KindArgument, NameArgument, NamespaceOption
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.revisions import RevisionPage
    from meshwright.api_client import Api, Query

LATEST = 5
"""Revisions that are shown."""


@remote
async def describe(
    api: Api,
    kind: KindArgument,
    name: NameArgument,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a document with its conditions and notes, who wrote it when and why, and where it is kept."""
    from api.shapes.revisions import RevisionPage
    from meshwright.commands.documents import key_of, slashed
    from meshwright.commands.get import one
    from meshwright.commands.kinds import kind_of
    from meshwright.commands.output import show
    from meshwright.errors import NotFoundError

    document = await one(api, kind_of(kind), name, namespace or api.namespace)
    of_kind, within, just_name = key_of(document)
    asked: Query = {"kind": of_kind, "namespace": within, "name": just_name, "limit": LATEST}
    try:
        history = await api.read(RevisionPage, "revisions", asked)
    except NotFoundError as error:  # no store keeps them: where else they are is said
        history, elsewhere = RevisionPage(items=(), before=None), str(error)
    else:
        elsewhere = ""
    data = {
        "document": document,
        "revisions": [each.model_dump(mode="json", by_alias=True) for each in history.items],
    }
    show(
        output,
        data,
        lambda console: _people(console, document, history, elsewhere),
        [slashed(key_of(document))],
    )


def _people(console: Console, document: Mapping[str, Any], history: RevisionPage, elsewhere: str) -> None:
    from meshwright.commands.about import about, kept_in, said_of
    from meshwright.commands.documents import key_of
    from meshwright.commands.layout import Column
    from meshwright.commands.output import as_yaml, line, say, table

    metadata, status = document["metadata"], document.get("status") or {}
    kind, namespace, name = key_of(document)
    facts = [
        ("kind", f"{kind} ({document.get('apiVersion')})"),
        ("namespace", namespace),
        ("name", name),
        ("about", about(document)),
        ("labels", _pairs(metadata.get("labels"))),
        ("annotations", _pairs(metadata.get("annotations"))),
        ("kept in", kept_in(document)),
        ("created", str(metadata.get("creationTimestamp") or "")),
        ("revision", str(metadata.get("resourceVersion") or "")),
    ]
    width = max(len(heading) for heading, said in facts if said)
    for heading, said in facts:
        if said:
            line(console, f"{heading.ljust(width)}  {said}")
    for text, style in said_of(status):
        say(console, text, style)
    line(console, "\nspec", "bold")
    line(console, "  " + as_yaml(document.get("spec")).rstrip().replace("\n", "\n  "))
    if history.items:
        line(console, "")
        columns = ("revision", "when (UTC)", "by", Column("why", folds=True))
        rows = [
            (str(each.number), f"{each.at:%Y-%m-%d %H:%M:%S}", each.author, each.reason)
            for each in history.items
        ]
        table(console, columns, rows)
    elif elsewhere:
        line(console, f"\n{elsewhere}")


def _pairs(said: object) -> str:
    return ", ".join(f"{key}={value}" for key, value in said.items()) if isinstance(said, dict) else ""
