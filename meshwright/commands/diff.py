"""`meshwright diff`: files beside what the store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.documents import FilesOption, NamespaceOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from meshwright.api_client import Api


@remote
async def diff(
    api: Api,
    filename: FilesOption,
    namespace: NamespaceOption = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if there is a difference.")] = False,
) -> None:
    """Show how documents in files differ from those in force. What that means for proxies is shown by `plan`."""
    from meshwright.commands import differ
    from meshwright.commands.documents import key_of, slashed
    from meshwright.commands.files import in_namespace, read
    from meshwright.commands.output import a_console

    console = a_console()
    differs = False
    for document in in_namespace(read(filename), namespace or api.namespace):
        lines = list(differ.unified(await _current(api, document), document, slashed(key_of(document))))
        differs = differs or bool(lines)
        differ.show(console, iter(lines))
    if check and differs:
        raise typer.Exit(1)


async def _current(api: Api, document: dict[str, Any]) -> dict[str, Any] | None:
    from meshwright.api_client import path
    from meshwright.commands.documents import key_of
    from meshwright.errors import NotFoundError

    try:
        found: dict[str, Any] = (await api.get(path("documents", *key_of(document)))).body
    except NotFoundError:
        return None
    return found
