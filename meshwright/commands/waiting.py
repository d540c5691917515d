"""`meshwright wait` and `--wait`: until every proxy has acknowledged a revision."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.options import Output, OutputOption, duration
from meshwright.commands.remote import remote
from meshwright.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.acknowledgements import Acknowledgements
    from meshwright.api_client import Api

STEP = 60.0
"""Seconds that one request waits at most: connections that are silent for longer are cut by some networks."""


@remote
async def wait(
    api: Api,
    number: Annotated[
        int | None, typer.Argument(metavar="[REVISION]", help="The newest if left out.", min=0)
    ] = None,
    revision: Annotated[
        int | None,
        typer.Option("--revision", metavar="REVISION", help="The same as an option.", min=0),
    ] = None,
    within: Annotated[
        str, typer.Option("--timeout", help="How long to wait, for example 30s or 5m; 0s only looks.")
    ] = "30s",
    output: OutputOption = Output.TABLE,
) -> None:
    """Wait until every proxy has acknowledged a revision; else list who has not, and why.

    It exits with 0 if all have, with 1 if some refuse it, and with 7 if some have not answered in time.
    """
    from meshwright.commands.output import show
    from meshwright.errors import UsageError

    if number is not None and revision is not None:
        raise UsageError("the revision is said twice: write `meshwright wait 11` or `--revision 11`")
    given = number if number is not None else revision
    found = await asked(
        api, given if given is not None else await _newest(api), duration(within).total_seconds()
    )
    names = [*(each.proxy for each in found.behind), *(each.proxy for each in found.refused)]
    show(output, found.model_dump(mode="json", by_alias=True), lambda console: _people(console, found), names)
    codes = {"acknowledged": ExitCode.OK, "refused": ExitCode.FAILED}
    raise typer.Exit(codes.get(found.state, ExitCode.LATE))


async def _newest(api: Api) -> int:
    from meshwright.errors import NotFoundError

    try:
        page = (await api.get("revisions", {"limit": 1})).body
    except NotFoundError:  # There is no store: who is asked for any revision says what to wait for instead.
        return 0
    return int(page["items"][0]["number"]) if page["items"] else 0


def _people(console: Console, found: Acknowledgements) -> None:
    from meshwright.commands.output import line

    if found.state == "acknowledged":
        line(console, everybody(found), "green")
        return
    said = "was refused" if found.state == "refused" else "is not acknowledged by all"
    line(console, f"revision {found.revision} {said}", "red")
    for each in refusing(found) if found.state == "refused" else behind(found):
        line(console, f"  {each}")


async def acknowledged(api: Api, revision: int, within: str) -> None:
    """Say so on standard error when all have. LateError names who has not, and why; RefusedError who refuses."""
    from meshwright.commands.output import tell
    from meshwright.errors import ForbiddenError, LateError, RefusedError

    try:
        found = await asked(api, revision, duration(within).total_seconds())
    except (
        ForbiddenError
    ) as error:  # Of an older control plane, or the token ended meanwhile: what landed was not refused.
        raise LateError(f"revision {revision} is written; who has it is not yours to see: {error}") from error
    if found.state == "acknowledged":
        tell(everybody(found))
    elif found.state == "refused":
        raise RefusedError("\n  ".join([f"revision {revision} was refused", *refusing(found)]))
    else:
        raise LateError(
            "\n  ".join(
                [
                    f"revision {revision} is written, and not acknowledged by all within {within}",
                    *behind(found),
                ]
            )
        )


async def asked(api: Api, revision: int, seconds: float) -> Acknowledgements:
    """What is known when all have answered, or when so many seconds are over."""
    from api.shapes.acknowledgements import Acknowledgements
    from meshwright.api_client import PATIENCE, path

    end = time.monotonic() + seconds
    while True:
        step = max(0.0, min(STEP, end - time.monotonic()))
        answer = await api.send(
            "GET",
            path("revisions", str(revision), "acknowledgements"),
            query={"timeout": f"{step:.1f}"},
            patience=step + PATIENCE,
        )
        found = api.model(Acknowledgements, answer.body)
        if found.state in {"acknowledged", "refused"} or time.monotonic() >= end:
            return found


def everybody(found: Acknowledgements) -> str:
    took = f", {found.took:.2f} s after it was taken" if found.took is not None else ""
    return f"revision {found.revision} is acknowledged by all proxies ({found.proxies}){took}"


def behind(found: Acknowledgements) -> list[str]:
    """A line for each proxy and replica that is waited for."""
    lines = []
    for each in found.behind:
        pending = "; ".join(f"{kind} {', '.join(names)}" for kind, names in each.pending.items())
        lines.append(f"{each.proxy}: {each.why}{f' ({pending})' if pending else ''}")
    lines += [f"control plane {each} has not said how far it is" for each in found.silent]
    if found.state == "pending":
        lines.append("a control plane has not taken the revision yet")
    return lines + refusing(found)


def refusing(found: Acknowledgements) -> list[str]:
    """A line for each proxy that refuses, in Envoy's words, with the documents to correct; and how many proxies are not named."""
    lines = [
        f"{each.proxy} refuses {each.type} {', '.join(each.names)}: {' '.join(each.message.split())}"
        + (f" (made by {', '.join(each.documents)})" if each.documents else "")
        for each in found.refused
    ]
    if found.unseen:
        lines.append(f"{found.unseen} of namespaces that are not yours to see")
    return lines
