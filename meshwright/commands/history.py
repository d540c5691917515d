"""`meshwright history` and `meshwright rollback`: what was written before, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.documents import DryRunOption, NamespaceOption, ReasonOption
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote
from meshwright.commands.written import WaitOption, WithinOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.shapes.revisions import RevisionChange
    from meshwright.api_client import Api

SHOWN = 6
"""Documents of a revision that are named in a row."""


@remote
async def history(
    api: Api,
    kind: Annotated[str | None, typer.Argument(metavar="[KIND", help="Only what changed this kind.")] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME]", help="Only what changed this document.")
    ] = None,
    namespace: NamespaceOption = None,
    limit: Annotated[int, typer.Option("--limit", help="How many, the newest first.", min=1)] = 20,
    before: Annotated[
        int | None, typer.Option("--before", metavar="REVISION", help="Only older ones than this.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List revisions, the newest first: when, by whom, what and why."""
    from api.shapes.revisions import RevisionPage
    from meshwright.commands.documents import split
    from meshwright.commands.kinds import kind_of
    from meshwright.commands.layout import Column
    from meshwright.commands.output import line, show, table, tell

    within, just_name = split(name, namespace or api.namespace) if name else (namespace, None)
    page = await api.read(
        RevisionPage,
        "revisions",
        {
            "kind": kind_of(kind) if kind else None,
            "namespace": within,
            "name": just_name,
            "limit": min(limit, 1000),
            "before": before,
        },
    )
    columns = ("revision", "when (UTC)", "by", Column("what", folds=True), Column("why", folds=True))
    rows = [
        (
            str(each.number),
            f"{each.at:%Y-%m-%d %H:%M:%S}",
            each.author,
            changed(each.changes, everything=output is Output.WIDE),
            each.reason,
        )
        for each in page.items
    ]
    show(
        output,
        [each.model_dump(mode="json", by_alias=True) for each in page.items],
        lambda console: table(console, columns, rows) if rows else line(console, "nothing was written yet"),
        [str(each.number) for each in page.items],
    )
    if page.before is not None and page.items and output in {Output.TABLE, Output.WIDE}:
        tell(f"older ones: --before {page.items[-1].number}")


def changed(changes: Sequence[RevisionChange], *, everything: bool) -> str:
    """`HTTPRoute shop/web, -AccessPolicy shop/old, and 12 more`: what is gone has a minus."""
    named = [
        f"{'-' if each.op == 'delete' else ''}{each.kind} {each.namespace}/{each.name}" for each in changes
    ]
    if everything or len(named) <= SHOWN:
        return ", ".join(named)
    return f"{', '.join(named[:SHOWN])}, and {len(named) - SHOWN} more"


@remote
async def rollback(
    api: Api,
    to: Annotated[int, typer.Option("--to", metavar="REVISION", help="As `history` lists them.", min=0)],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    within: WithinOption = "30s",
    output: OutputOption = Output.TABLE,
) -> None:
    """Make all documents of the store as they were at a revision: a new revision, so that this too can be taken back."""
    from api.shapes.documents import WriteAnswer
    from meshwright.commands.written import conclude

    body = {"to": to, "reason": reason or f"rollback to {to}", "dryRun": dry_run}
    answer = api.model(WriteAnswer, (await api.send("POST", "rollback", body)).body)
    await conclude(api, answer, output, wait=wait, within=within)
