"""`meshwright logs` and `meshwright top`: what happens now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import completing, remote

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.logs import AccessLine, AccessPage, LogLine, ProxyTop
    from meshwright.api_client import Api

CONTROL_PLANE = "control-plane"
PAUSE = 1.0
"""Seconds between two looks at what is followed."""
USUAL = frozenset({"via_upstream"})
"""Details of what the application itself has answered."""
STYLES = {"warning": "yellow", "error": "red", "critical": "red"}


async def _whose(api: Api, _ctx: typer.Context) -> list[str]:
    status = (await api.get("status")).body
    return [CONTROL_PLANE, *(str(each["proxy"]) for each in status["proxies"])]


@remote
async def logs(
    api: Api,
    whose: Annotated[
        str,
        typer.Argument(
            metavar="control-plane|PROXY",
            help="The control plane, or a proxy by its workload: [<namespace>/]<workload>.",
            autocompletion=completing(_whose),
        ),
    ] = CONTROL_PLANE,
    lines: Annotated[int, typer.Option("--lines", help="How many, the newest.", min=1, max=5000)] = 100,
    level: Annotated[
        str | None,
        typer.Option("--level", help="Of the control plane: debug, info, warning or error, and above."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the last log lines of the control plane, or the requests and connections that a proxy has reported.

    A proxy reports to the control plane on ports that take plaintext, while a rollout watches it, and while you --follow it.
    """
    from api.shapes.logs import AccessPage, LogPage
    from meshwright.api_client import path
    from meshwright.commands.documents import split
    from meshwright.errors import UsageError

    of_proxy = whose != CONTROL_PLANE
    if of_proxy and level:
        raise UsageError("--level goes with the control plane's own log")
    if output is Output.NAME:
        raise UsageError("-o name: log lines have no names; use -o json")
    where = path("logs", *split(whose, api.namespace)) if of_proxy else "logs"
    query: dict[str, str | int | None] = {"lines": lines, **({"level": level} if level else {})}
    shown = _accesses if of_proxy else _lines
    after = 0
    while True:
        page: AccessPage | LogPage = (
            await api.read(AccessPage, where, {**query, "after": after, "watch": follow})
            if of_proxy
            else await api.read(LogPage, where, {**query, "after": after})
        )
        if isinstance(page, AccessPage):
            _explain(page, whose, first=not after, follow=follow)
        _print(output, page.items, shown)
        if not follow:
            return
        after = page.last
        await asyncio.sleep(PAUSE)


def _explain(page: AccessPage, whose: str, *, first: bool, follow: bool) -> None:
    from meshwright.commands.output import tell

    if follow and not page.watched:
        tell(f"{whose} is not watched: too many proxies are at this time; end other `logs --follow`")
    elif first and not page.sends and not follow:
        tell(
            f"{whose} has sent no access logs to the control plane: --follow lets it, for as long as you look"
        )


def _print(output: Output, items: Sequence[Any], people: Callable[[Console, Sequence[Any]], None]) -> None:
    """A line of JSON each for programs, so that it can be followed."""
    from meshwright.commands.output import a_console, as_yaml, write

    if output in {Output.JSON, Output.YAML}:
        for each in items:
            data = each.model_dump(mode="json", by_alias=True)
            write(
                json.dumps(data, ensure_ascii=False) + "\n"
                if output is Output.JSON
                else "---\n" + as_yaml(data)
            )
    else:
        people(a_console(), items)


def _lines(console: Console, items: Sequence[LogLine]) -> None:
    from meshwright.commands.output import line

    for each in items:
        besides = " ".join(f"{name}={_value(value)}" for name, value in each.fields.items())
        line(
            console,
            f"{each.at:%Y-%m-%d %H:%M:%S} {each.level:7} {each.event}{'  ' + besides if besides else ''}",
            STYLES.get(each.level, ""),
        )


def _value(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(each in text for each in ' "=\n') else text


def _accesses(console: Console, items: Sequence[AccessLine]) -> None:
    from meshwright.commands.output import line

    for each in items:
        took = "" if each.duration is None else f" {each.duration * 1000:.1f} ms"
        flags = f" {','.join(each.flags)}" if each.flags else ""
        what = (
            f"{each.method} {each.authority}{each.path}{'' if each.status is None else f' {each.status}'}"
            if each.method
            else f"TCP, {each.received} bytes in, {each.sent} out"
        )
        more = "".join(
            f" {name}={_value(value)}"
            for name, value in (
                ("caller", each.caller),
                ("policy", each.policy),
                ("would_refuse", each.would_refuse),
                ("details", "" if each.details in USUAL else each.details),
            )
            if value
        )
        to = f" → {each.cluster} {each.destination}".rstrip() if each.cluster or each.destination else ""
        failed = bool(each.status and each.status >= 500)
        line(
            console,
            f"{each.at:%Y-%m-%d %H:%M:%S.%f} {each.log.rpartition('.')[2]} {each.source}{to}: {what}{took}{flags}{more}",
            "red" if failed else "",
        )


@remote
async def top(
    api: Api,
    window: Annotated[
        int, typer.Option("--window", help="Seconds that rates are over.", min=1, max=3600)
    ] = 60,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again every two seconds, until Ctrl-C.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how busy each proxy is: requests, errors and durations by what it has reported of late.

    Where a proxy sends no access logs here these are empty; the size of its configuration and what it is behind in are known of all.
    """
    from api.shapes.logs import Top
    from meshwright.commands.output import a_console, show

    while True:
        found = await api.read(Top, "top", {"window": window})
        console = a_console()
        if watch and output in {Output.TABLE, Output.WIDE}:
            console.clear()
        show(
            output,
            [each.model_dump(mode="json", by_alias=True) for each in found.items],
            lambda console, items=found.items: _busy(console, items),  # type: ignore[misc]
            [each.proxy for each in found.items],
        )
        if not watch:
            return
        await asyncio.sleep(2 * PAUSE)


def _busy(console: Console, items: Sequence[ProxyTop]) -> None:
    from meshwright.commands.layout import Column
    from meshwright.commands.output import line, table

    if not items:
        line(console, "no proxy is connected")
        return
    columns = ("proxy", "req/s", "errors", "p50", "p99", "over", "configuration", Column("state", folds=True))
    table(console, columns, [_row(each) for each in items])
    if not all(each.measured for each in items):
        line(console, "requests are known of proxies that send access logs to the control plane", "dim")


def _row(each: ProxyTop) -> tuple[str, ...]:
    states = [] if each.connected else ["not connected"]
    states += [f"refused {', '.join(each.refused)}"] if each.refused else []
    states += [f"behind in {', '.join(each.behind)}"] if each.behind else []
    return (
        each.proxy,
        "" if each.requests_per_second is None else f"{each.requests_per_second:.1f}",
        "" if each.errors is None else f"{each.errors:.1%}",
        _ms(each.p50),
        _ms(each.p99),
        "" if each.over is None else f"{each.over:.0f}s",
        "" if each.configuration is None else f"{each.configuration / 1e3:.0f} kB",
        "; ".join(states) or "in sync",
    )


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"
