"""`meshwright plan`: what a change would do, before it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.documents import NamespaceOption
from meshwright.commands.options import DocumentsOption, Output, OutputOption, TrustDomainOption
from meshwright.commands.remote import remote_unless

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.plan import PlanAnswer
    from meshwright.api_client import Api
    from meshwright.commands.files import Given

PATIENCE = 300.0
"""Seconds: a large mesh is rendered twice, and shown to Envoy."""
STYLES = {"+": "green", "-": "red", "~": "yellow"}


@remote_unless("documents")
async def plan(
    api: Api,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|DIR|-]...",
            help="Documents that would be applied: files, directories, or - for standard input.",
        ),
    ] = None,
    filename: Annotated[
        list[str] | None,
        typer.Option("--filename", "-f", metavar="FILE|DIR|-", help="The same, as other commands take it."),
    ] = None,
    delete: Annotated[
        list[str] | None,
        typer.Option(
            "--delete",
            metavar="KIND/NAMESPACE/NAME",
            help="A document that would be deleted, as -o name prints it. Repeat it for more.",
        ),
    ] = None,
    revision: Annotated[
        int | None, typer.Option("--revision", help="What `rollback --to` this revision would do.")
    ] = None,
    documents: DocumentsOption = None,
    trust_domain: TrustDomainOption = "mesh.local",
    envoy: Annotated[
        bool, typer.Option("--envoy/--no-envoy", help="Whether a real Envoy checks what proxies would get.")
    ] = True,
    namespace: NamespaceOption = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if anything would change.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a change would do: to which documents, to which of Envoy's resources, for which proxies. Nothing is written.

    It warns of what has no effect, leads nowhere, or locks out somebody, and has a real Envoy check the outcome. Exits with 1 if it
    would be refused.
    """
    from meshwright.commands.files import read
    from meshwright.commands.output import show
    from meshwright.errors import UsageError

    sources = [*(files or ()), *(filename or ())]
    if revision is not None and (sources or delete):
        raise UsageError("--revision stands alone: it says itself what would be written and deleted")
    if revision is None and not sources and not delete:
        raise UsageError("give files of documents, --delete, or --revision")
    if revision is not None and documents is not None:
        raise UsageError("a directory has no revisions: leave --documents or --revision out")
    where = namespace or api.namespace
    given = read(sources) if sources else []
    gone = [_named(each, where) for each in delete or ()]
    if documents is not None:
        found = await _offline(documents, given, gone, where, trust_domain, envoy=envoy)
    else:
        found = await _online(api, given, gone, where, revision, envoy=envoy)
    show(output, found.model_dump(mode="json", by_alias=True), lambda console: _people(console, found))
    refused = bool(found.refused) or found.check.result == "refused"
    if refused or (check and (found.documents or found.resources)):
        raise typer.Exit(1)


async def _online(
    api: Api,
    given: list[Given],
    gone: list[tuple[str, str, str]],
    namespace: str,
    revision: int | None,
    *,
    envoy: bool,
) -> PlanAnswer:
    from api.shapes.plan import PlanAnswer
    from meshwright.api_client import told
    from meshwright.commands.files import in_namespace, places
    from meshwright.errors import RefusedError

    body: dict[str, Any] = {
        "documents": in_namespace(given, namespace),
        "delete": [{"kind": kind, "namespace": space, "name": name} for kind, space, name in gone],
        "check": envoy,
    }
    if revision is not None:
        body["revision"] = revision
    try:
        answer = await api.send("POST", "plan", body, patience=PATIENCE)
    except RefusedError as error:
        if error.problem is None:
            raise
        raise type(error)(told(error.problem, places(given, namespace)), error.problem) from error
    return api.model(PlanAnswer, answer.body)


async def _offline(
    root: Path,
    given: list[Given],
    gone: list[tuple[str, str, str]],
    namespace: str,
    trust_domain: str,
    *,
    envoy: bool,
) -> PlanAnswer:
    import json
    from datetime import UTC, datetime

    from mesh.names import Key
    from meshwright.commands.files import in_namespace
    from meshwright.errors import RefusedError
    from meshwright.plan.asked import Unfit
    from meshwright.plan.checked import NOT_ASKED, checked
    from meshwright.plan.offline import offline
    from meshwright.plan.shown import answer

    said = in_namespace(given, namespace)
    files = [(each.file, json.dumps(tree).encode()) for each, tree in zip(given, said, strict=True)]
    try:
        made = offline(root, files, [(kind, Key(space, name)) for kind, space, name in gone], trust_domain)
    except Unfit as error:
        raise RefusedError(str(error)) from error
    check = NOT_ASKED
    if envoy and not made.refused:
        check = await checked(made.given, made.resources, lambda: datetime.now(UTC))
    return answer(made, check)


def _named(text: str, namespace: str) -> tuple[str, str, str]:
    """`HTTPRoute/shop/web`, or `HTTPRoute/web`."""
    from meshwright.commands.documents import split
    from meshwright.commands.kinds import kind_of
    from meshwright.errors import UsageError

    kind, slash, name = text.partition("/")
    if not slash:
        raise UsageError(f"--delete {text!r}: write KIND/NAMESPACE/NAME, or KIND/NAME")
    return kind_of(kind), *split(name, namespace)


def _people(console: Console, found: PlanAnswer) -> None:
    from meshwright.commands.output import line, width_of
    from meshwright.plan.text import folded, lines

    for each in lines(found):
        for part in folded(each, width_of(console)):
            line(console, part, STYLES.get(each.strip()[:1], ""))
