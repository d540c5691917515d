"""What a write did, told to who wrote, and `--wait`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.documents import slashed
from meshwright.commands.options import Output

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.documents import WriteAnswer
    from meshwright.api_client import Api

WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait", help="Until every proxy has acknowledged it, as long as --timeout (or --wait=30s) says."
    ),
]
WithinOption = Annotated[str, typer.Option("--timeout", help="How long to wait, for example 30s or 5m.")]


async def conclude(api: Api, answer: WriteAnswer, output: Output, *, wait: bool, within: str) -> None:
    """Warnings on standard error, what was done on standard output; then wait, if that was asked for."""
    from meshwright.commands.output import show, tell
    from meshwright.commands.waiting import acknowledged

    for each in answer.warnings:
        tell(f"warning: {f'{each.document}: ' if each.document else ''}{each.warning}")
    show(
        output,
        answer.model_dump(mode="json", by_alias=True, exclude_none=True),
        show_written(answer),
        written_names(answer),
    )
    if wait and not answer.dry_run:
        await acknowledged(api, answer.revision, within)


def show_written(answer: WriteAnswer) -> Callable[[Console], None]:
    """For people: a line for each document that a write changed, then how far it reaches."""
    from meshwright.commands.output import line

    styles = {"created": "green", "changed": "yellow", "deleted": "red"}

    def people(console: Console) -> None:
        would = " (dry run)" if answer.dry_run else ""
        for each in answer.changes:
            line(
                console,
                f"{each.kind} {each.namespace}/{each.name} {each.op}{would}",
                styles.get(each.op, "dim"),
            )
        line(console, reach(answer))

    return people


def reach(answer: WriteAnswer) -> str:
    """`revision 7: it reaches 12 proxies and 3 services`. Of resources only those are reckoned that callers get: `plan` lists all."""
    effects = answer.effects
    if all(each.op == "unchanged" for each in answer.changes):
        return f"nothing changes; revision {answer.revision} holds it already"
    verb = "would be revision" if answer.dry_run else "revision"
    proxies, services = counted(effects.proxies, "proxy", "proxies"), counted(effects.services, "service")
    return f"{verb} {answer.revision}: it reaches {proxies} and {services}"


def counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def written_names(answer: WriteAnswer) -> Sequence[str]:
    return [slashed((each.kind, each.namespace, each.name)) for each in answer.changes]
