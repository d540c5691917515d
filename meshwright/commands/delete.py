"""`meshwright delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.documents import (
    DryRunOption,
    KindArgument,
    NamesArgument,
    NamespaceOption,
    ReasonOption,
)
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote
from meshwright.commands.written import WaitOption, WithinOption

if TYPE_CHECKING:
    from meshwright.api_client import Api


@remote
async def delete(
    api: Api,
    kind: KindArgument = "",
    names: NamesArgument = None,
    filename: Annotated[
        list[str] | None,
        typer.Option("--filename", "-f", metavar="FILE|DIR|-", help="The documents that are in these files."),
    ] = None,
    namespace: NamespaceOption = None,
    selector: Annotated[str, typer.Option("--selector", "-l", help="By labels, as `get` takes them.")] = "",
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="What is not there is as good as deleted.")
    ] = False,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    within: WithinOption = "30s",
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete documents by name, by labels or as files have them, all of them or none, as one revision."""
    from api.shapes.documents import WriteAnswer
    from meshwright.commands.output import tell
    from meshwright.commands.written import conclude
    from meshwright.errors import NotFoundError

    where = namespace or api.namespace
    wanted = await _wanted(api, kind, names or [], filename or [], selector, where)
    if not selector:
        there = [each for each in wanted if await _is_there(api, each)]
        missing = [each for each in wanted if each not in there]
        if missing and not ignore_not_found:
            raise NotFoundError(
                "\n  ".join(f"there is no {kind} {within_}/{name}" for kind, within_, name in missing)
            )
        wanted = there
    if not wanted:
        tell("nothing to delete")
        return
    deletions = [{"kind": one, "namespace": within_, "name": name} for one, within_, name in wanted]
    body: dict[str, Any] = {"delete": deletions, "reason": reason, "dryRun": dry_run}
    answer = api.model(WriteAnswer, (await api.send("POST", "batch", body)).body)
    await conclude(api, answer, output, wait=wait, within=within)


async def _wanted(
    api: Api, kind: str, names: list[str], files: list[str], selector: str, namespace: str
) -> list[tuple[str, str, str]]:
    from meshwright.commands.documents import key_of, split
    from meshwright.commands.files import in_namespace, read
    from meshwright.commands.get import several
    from meshwright.commands.kinds import kind_of
    from meshwright.errors import UsageError

    if sum(map(bool, (names, files, selector))) != 1 or (bool(files) == bool(kind)):
        raise UsageError("say what to delete: KIND NAME…, KIND -l LABELS, or -f FILE")
    if files:
        return [key_of(each) for each in in_namespace(read(files), namespace)]
    if names:
        return [(kind_of(kind), *split(each, namespace)) for each in names]
    query = {"kind": kind_of(kind), "namespace": namespace, "labelSelector": selector}
    return [key_of(each) async for each in several(api, query)]


async def _is_there(api: Api, key: tuple[str, str, str]) -> bool:
    from meshwright.api_client import path
    from meshwright.errors import NotFoundError

    try:
        await api.get(path("documents", *key))
    except NotFoundError:
        return False
    return True
