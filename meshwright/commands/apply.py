"""`meshwright apply`: documents into the store, all of them or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.documents import DryRunOption, FilesOption, NamespaceOption, ReasonOption
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote
from meshwright.commands.written import WaitOption, WithinOption

if TYPE_CHECKING:
    from api.shapes.documents import WriteAnswer
    from meshwright.api_client import Api

MANAGER = "meshwright"


@remote
async def apply(
    api: Api,
    filename: FilesOption,
    namespace: NamespaceOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    server_side: Annotated[
        bool,
        typer.Option(
            "--server-side",
            help="Own the fields that are given, and leave those of others alone; each document by itself.",
        ),
    ] = False,
    field_manager: Annotated[
        str, typer.Option("--field-manager", help="Who owns the fields, with --server-side.")
    ] = MANAGER,
    force_conflicts: Annotated[
        bool,
        typer.Option("--force-conflicts", help="Take over fields that others own, with --server-side."),
    ] = False,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage", metavar="SHARES", help="To some proxies first, and go back by itself: 5%,50%,100%."
        ),
    ] = None,
    bake: Annotated[
        str | None,
        typer.Option(
            "--bake", metavar="TIME", help="With --stage: how long it must do well in each. By default 2m."
        ),
    ] = None,
    wait: WaitOption = False,
    within: WithinOption = "30s",
    output: OutputOption = Output.TABLE,
) -> None:
    """Create or change documents, all of them or none, as one revision. It tells what that changes, and what it does not.

    A document that carries metadata.resourceVersion is written only if nobody has changed it since.
    """
    from meshwright.api_client import told
    from meshwright.commands.files import in_namespace, places, read
    from meshwright.commands.written import conclude
    from meshwright.errors import RefusedError, UsageError

    if not server_side and force_conflicts:
        raise UsageError("--force-conflicts goes with --server-side")
    if bake and not stage:
        raise UsageError("--bake goes with --stage")
    if server_side and stage:
        raise UsageError("--stage goes with a write of all documents together: leave --server-side out")
    given = read(filename)
    where = namespace or api.namespace
    documents = in_namespace(given, where)
    try:
        if server_side:
            answers = [
                await _merged(api, each, field_manager, force_conflicts, reason, dry_run)
                for each in documents
            ]
        else:
            body = {"documents": documents, "reason": reason, "dryRun": dry_run, "stage": stage, "bake": bake}
            answers = [await _batch(api, body)]
    except RefusedError as error:
        if error.problem is None:
            raise
        raise type(error)(told(error.problem, places(given, where)), error.problem) from error
    answer = _together(answers)
    await conclude(api, answer, output, wait=wait, within=within)


async def _batch(api: Api, body: dict[str, Any]) -> WriteAnswer:
    from api.shapes.documents import WriteAnswer

    return api.model(WriteAnswer, (await api.send("POST", "batch", body)).body)


async def _merged(
    api: Api, document: dict[str, Any], manager: str, force: bool, reason: str, dry_run: bool
) -> WriteAnswer:
    from api.shapes.documents import WriteAnswer
    from meshwright.api_client import path
    from meshwright.commands.documents import key_of

    answer = await api.send(
        "PATCH",
        path("documents", *key_of(document)),
        document,
        query={"fieldManager": manager, "force": force, "reason": reason, "dryRun": dry_run},
        content_type="application/apply-patch+json",
    )
    return api.model(WriteAnswer, answer.body)


def _together(answers: list[WriteAnswer]) -> WriteAnswer:
    """What several writes did, as if it had been one. How far each reaches cannot be added: the largest says at least."""
    from api.shapes.documents import WriteAnswer

    if len(answers) == 1:
        return answers[0]
    last = json.loads(max(answers, key=lambda each: each.revision).model_dump_json(by_alias=True))
    effects = [each.effects for each in answers]
    last |= {
        "changes": [
            json.loads(one.model_dump_json(by_alias=True)) for each in answers for one in each.changes
        ],
        "warnings": [
            json.loads(one.model_dump_json(by_alias=True)) for each in answers for one in each.warnings
        ],
        "effects": {
            "proxies": max(each.proxies for each in effects),
            "services": max(each.services for each in effects),
            "resources": sum(each.resources for each in effects),
            "about": True,
        },
        "document": None,
    }
    return WriteAnswer.model_validate_json(json.dumps(last))
