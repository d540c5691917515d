"""What the commands about documents share: names, and a document as its author wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from meshwright.commands.kinds import SHORT, kind_of
from meshwright.commands.remote import completing
from meshwright.errors import UsageError

KEPT = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")
"""Of `metadata`, what is its author's; the rest is the store's."""


def _kinds(incomplete: str) -> list[str]:
    """Matched as people type them; what is completed is the kind's own name where that begins so, else in lower case."""
    exact = [kind for kind in SHORT if kind.startswith(incomplete)]
    return exact or [kind.lower() for kind in SHORT if kind.lower().startswith(incomplete.lower())]


async def _names(api: Any, ctx: typer.Context) -> list[str]:
    kind, namespace = ctx.params.get("kind"), ctx.params.get("namespace") or api.namespace
    query = {"kind": kind_of(str(kind)), "namespace": namespace, "limit": 1000}
    page = (await api.get("documents", query)).body
    return [str(each["metadata"]["name"]) for each in page["items"]]


KindArgument = Annotated[
    str,
    typer.Argument(metavar="KIND", help="As HTTPRoute, httproutes or hr; any case.", autocompletion=_kinds),
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Its name.", autocompletion=completing(_names))
]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Their names.", autocompletion=completing(_names)),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="The namespace; that of the context, or `default`, if left out."),
]
FilesOption = Annotated[
    list[str],
    typer.Option(
        "--filename",
        "-f",
        metavar="FILE|DIR|-",
        help="Documents: a file, a directory with all below it, or - for standard input. Repeat it for more.",
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why, for the history.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check it, tell what it would do, and write nothing.")
]


def key_of(document: Mapping[str, Any]) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    metadata = document.get("metadata") or {}
    return (
        str(document.get("kind")),
        str(metadata.get("namespace") or "default"),
        str(metadata.get("name")),
    )


def slashed(name: tuple[str, str, str]) -> str:
    """As `-o name` prints it: `HTTPRoute/shop/web`."""
    return "/".join(name)


def split(name: str, namespace: str) -> tuple[str, str]:
    """`shop/web`, or `web` in `namespace`."""
    parts = name.split("/")
    if len(parts) > 2 or not all(parts):
        raise UsageError(f"{name!r} is no name: write <name> or <namespace>/<name>")
    return (parts[0], parts[1]) if len(parts) == 2 else (namespace, name)


def authored(document: Mapping[str, Any]) -> dict[str, Any]:
    """What its author says: without `status`, and without what the store knows in `metadata`."""
    metadata = document.get("metadata") or {}
    kept = {key: metadata[key] for key in KEPT if metadata.get(key)}
    return {**{key: value for key, value in document.items() if key != "status"}, "metadata": kept}
