"""`meshwright rollout`: changes that go to some proxies first: how far they are, and what to say to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.rollouts import Rollout
    from meshwright.api_client import Api

app = Commands(help="Changes that go to some proxies first, and go back by themselves.")

Id = Annotated[str, typer.Argument(metavar="ID", help="As `rollout list` has it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why: it is kept with the rollout.")]
EVERY = 1.0
"""Seconds between two questions of `--wait`."""
MISSING = 10


@app.command("list")
@remote
async def list_(api: Api, output: OutputOption = Output.TABLE) -> None:
    """List the rollouts that are on, and the last ones that were, the newest first."""
    from api.shapes.rollouts import RolloutList
    from meshwright.commands.layout import Column
    from meshwright.commands.output import line, show, table

    found = (await api.read(RolloutList, "rollouts")).items
    columns = (
        "id",
        "stage",
        "phase",
        "proxies",
        "begun (UTC)",
        Column("what", folds=True),
        Column("why", folds=True),
    )
    rows = [
        (
            each.id,
            f"{each.stage}/{len(each.stages)} {each.stages[each.stage - 1]}",
            _phase(each),
            f"{each.having}/{each.proxies}" if _is_on(each) else "",
            _time(each.started),
            ", ".join(each.documents),
            each.reason,
        )
        for each in found
    ]
    show(
        output,
        [each.model_dump(mode="json", by_alias=True) for each in found],
        lambda console: table(console, columns, rows) if rows else line(console, "there was no rollout yet"),
        [each.id for each in found],
    )


@app.command("status")
@remote
async def status(
    api: Api,
    rollout: Id,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it is over. Exits with 1 if it was withdrawn.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one rollout: its stage, who has the change, how it does beside the others, and what happened."""
    import asyncio

    from api.shapes.rollouts import Rollout

    found = await api.read(Rollout, _path(rollout))
    while wait and _is_on(found):
        await asyncio.sleep(EVERY)
        found = await api.read(Rollout, _path(rollout))
    _show(output, found)
    if wait and found.phase == "withdrawn":
        raise typer.Exit(1)


@app.command("promote")
@remote
async def promote(api: Api, rollout: Id, reason: Reason = "", output: OutputOption = Output.TABLE) -> None:
    """Let it go on to its next stage at once, whatever was seen."""
    _show(output, await _command(api, rollout, "promote", reason))


@app.command("abort")
@remote
async def abort(api: Api, rollout: Id, reason: Reason = "", output: OutputOption = Output.TABLE) -> None:
    """Withdraw it: all proxies go back to what was before, and so do the documents of the store."""
    _show(output, await _command(api, rollout, "abort", reason))


@app.command("pause")
@remote
async def pause(api: Api, rollout: Id, reason: Reason = "", output: OutputOption = Output.TABLE) -> None:
    """Let it stay in its stage. It still goes back by itself if it does badly."""
    _show(output, await _command(api, rollout, "pause", reason))


@app.command("resume")
@remote
async def resume(api: Api, rollout: Id, reason: Reason = "", output: OutputOption = Output.TABLE) -> None:
    """Let a paused one go on; the time of its stage begins anew."""
    _show(output, await _command(api, rollout, "resume", reason))


def _path(rollout: str, *rest: str) -> str:
    """NotFoundError for what can be no id, in the words that there are for one that nobody has."""
    from meshwright.api_client import path
    from meshwright.errors import NotFoundError

    if not re.fullmatch(r"[0-9a-f]{8}", rollout):
        raise NotFoundError(f"there is no rollout {rollout!r}: `meshwright rollout list` names them")
    return path("rollouts", rollout, *rest)


async def _command(api: Api, rollout: str, command: str, reason: str) -> Rollout:
    from api.shapes.rollouts import Rollout

    answer = await api.send("POST", _path(rollout, command), {"reason": reason})
    return api.model(Rollout, answer.body)


def _show(output: Output, found: Rollout) -> None:
    from meshwright.commands.output import show

    show(
        output,
        found.model_dump(mode="json", by_alias=True),
        lambda console: _person(console, found),
        [found.id],
    )


def _person(console: Console, found: Rollout) -> None:
    from meshwright.commands.output import line

    line(console, f"rollout {found.id}: {_phase(found)}")
    line(console, f"  what     {', '.join(found.documents)}")
    line(console, f"  by       {found.by}")
    stages = (f"[{each}]" if place == found.stage else each for place, each in enumerate(found.stages, 1))
    line(console, f"  stages   {', '.join(stages)}")
    if _is_on(found):
        line(console, f"  proxies  {found.having} of {found.proxies} have it")
        if found.missing:
            more = f" and {len(found.missing) - MISSING} more" if len(found.missing) > MISSING else ""
            line(console, f"  waits    for {', '.join(found.missing[:MISSING])}{more}")
        seen = found.seen
        line(
            console,
            f"  seen     {seen.failed} of {seen.requests} requests failed with it, {seen.failed_without} of "
            f"{seen.requests_without} without it",
        )
    if found.health and found.ended is None:
        line(console, f"  health   {found.health}")
    if found.undone:
        line(console, f"  undone   {found.undone}")
    for each in found.told:
        line(console, f"  {_time(each.at)}  {each.words}")


def _is_on(found: Rollout) -> bool:
    return found.phase in {"acknowledging", "baking"}


def _phase(found: Rollout) -> str:
    return f"{found.phase}, paused" if found.paused and _is_on(found) else found.phase


def _time(at: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
