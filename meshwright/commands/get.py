"""`meshwright get`: documents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.documents import KindArgument, NamesArgument, NamespaceOption
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from rich.console import Console

    from meshwright.api_client import Api

ALL = "all"


@remote
async def get(
    api: Api,
    kind: KindArgument,
    names: NamesArgument = None,
    namespace: NamespaceOption = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Of every namespace.")
    ] = False,
    selector: Annotated[
        str, typer.Option("--selector", "-l", help="By labels: app=web,tier!=db,env in (a, b),!old.")
    ] = "",
    field_selector: Annotated[
        str, typer.Option("--field-selector", help="By fields: spec.action!=deny.")
    ] = "",
    at: Annotated[
        int | None, typer.Option("--at", metavar="REVISION", help="As they were at that revision.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Then a line for each change, until Ctrl-C.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List documents of a kind (or of `all`), or show some by name: those of the store and those of files.

    What the mesh makes of them and of registries is shown by `services`, `workloads` and `status`.
    """
    from meshwright.commands.kinds import kind_of
    from meshwright.commands.output import show
    from meshwright.errors import UsageError

    one_kind = None if kind.lower() == ALL else kind_of(kind)
    if names and (one_kind is None or all_namespaces or selector or field_selector):
        raise UsageError("a name goes with one kind in one namespace: leave `all`, -A and selectors out")
    where = None if all_namespaces else namespace or api.namespace
    found = (
        [await one(api, str(one_kind), name, str(where), at) for name in names]
        if names
        else [
            each
            async for each in several(
                api, {"kind": one_kind, "namespace": where, "labelSelector": selector,
                      "fieldSelector": field_selector, "at": at},
            )
        ]
    )  # fmt: skip
    view = View(
        wide=output is Output.WIDE,
        kinds=one_kind is None,
        namespaces=all_namespaces or bool(names and "/" in "".join(names)),
        now=datetime.now(UTC),
    )
    said = f"there is no {one_kind or 'document'}{f' in namespace {where}' if where else ''}"
    if not (watch and output is Output.JSON):
        data: Any = found[0] if names and len(found) == 1 else found
        show(output, data, lambda console: view.show(console, found, said), [_name(each) for each in found])
    if watch:
        await _watch(api, one_kind, where, output)


async def one(api: Api, kind: str, name: str, namespace: str, at: int | None = None) -> dict[str, Any]:
    """NotFoundError if there is none."""
    from meshwright.api_client import path
    from meshwright.commands.documents import split

    answer = await api.get(path("documents", kind, *split(name, namespace)), {"at": at})
    found: dict[str, Any] = answer.body
    return found


async def several(api: Api, query: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """All pages."""
    following = ""
    while True:
        page = (await api.get("documents", {**query, "continue": following or None})).body
        for each in page["items"]:
            yield each
        following = page.get("continue", "")
        if not following:
            return


class View:
    """The columns that people see."""

    def __init__(self, *, wide: bool, kinds: bool, namespaces: bool, now: datetime) -> None:
        self._wide, self._kinds, self._namespaces, self._now = wide, kinds, namespaces, now

    def show(self, console: Console, documents: Sequence[Mapping[str, Any]], nothing: str) -> None:
        from meshwright.commands.layout import Column
        from meshwright.commands.output import line, table

        if not documents:
            line(console, nothing)
            return
        columns: list[Column | str] = ["kind"] if self._kinds else []
        columns += ["namespace"] if self._namespaces else []
        columns += ["name", Column("about", folds=True), "state", "age"]
        columns += ["revision", Column("kept in", folds=True)] if self._wide else []
        table(console, columns, [self._row(each) for each in documents])

    def _row(self, document: Mapping[str, Any]) -> list[str]:
        from meshwright.commands.about import about, created, kept_in, state
        from meshwright.commands.documents import key_of
        from meshwright.tables import age

        kind, namespace, name = key_of(document)
        born = created(document)
        row = [kind] if self._kinds else []
        row += [namespace] if self._namespaces else []
        row += [
            name,
            about(document),
            state(document),
            age(max(0.0, (self._now - born).total_seconds())) if born else "",
        ]
        if self._wide:
            row += [str(document["metadata"].get("resourceVersion") or ""), kept_in(document)]
        return row


def _name(document: Mapping[str, Any]) -> str:
    from meshwright.commands.documents import key_of, slashed

    return slashed(key_of(document))


async def _watch(api: Api, kind: str | None, namespace: str | None, output: Output) -> None:
    """A line for each change from now on: JSON lines for programs, names for `-o name`."""
    from meshwright.commands.output import a_console, as_yaml, line, write

    console = a_console()
    query = {"kind": kind, "namespace": namespace, "documents": output in {Output.JSON, Output.YAML}}
    async for told in api.stream("watch", query):
        for each in told.get("changes") or ():
            if output is Output.JSON:
                write(json.dumps({"revision": told["revision"], **each}, ensure_ascii=False) + "\n")
            elif output is Output.YAML:
                write("---\n" + as_yaml({"revision": told["revision"], **each}))
            elif output is Output.NAME:
                write(f"{each['kind']}/{each['namespace']}/{each['name']}\n")
            else:
                what = "deleted" if each["op"] == "delete" else "written"
                by = f" by {told['author']}" if told.get("author") else ""
                why = f": {told['reason']}" if told.get("reason") else ""
                line(
                    console,
                    f"{each['kind']} {each['namespace']}/{each['name']} {what}, revision {told['revision']}{by}{why}",
                )
