"""What makes a coroutine a command that talks to a control plane.

    @remote
    async def history(api: Api, name: Annotated[str, typer.Argument()], output: OutputOption = Output.TABLE) -> None:
        ...

The first parameter is given, open; the options that say which control plane it is are added behind those of the command's own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar, get_type_hints

import typer

from meshwright.commands.contexts import Chosen, Wanted, choose
from meshwright.errors import MeshwrightError

if TYPE_CHECKING:
    from meshwright.api_client import Api

P = ParamSpec("P")
T = TypeVar("T")
COMPLETION = 2.0
"""Seconds that somebody who completes a name waits."""
PANEL = "Which control plane"


def _where(
    server: Annotated[
        str | None,
        typer.Option(
            "--server", metavar="URL", rich_help_panel=PANEL, help="Over HTTPS. [env: MESHWRIGHT_SERVER]"
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            rich_help_panel=PANEL,
            help="Holds the API token for --server. [env: MESHWRIGHT_API_TOKEN_FILE]",
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            "--ca-file",
            rich_help_panel=PANEL,
            help="The CA certificates that --server is verified by. [env: MESHWRIGHT_CA_FILE]",
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            rich_help_panel=PANEL,
            help="One that `meshwright context set` named. [env: MESHWRIGHT_CONTEXT]",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            rich_help_panel=PANEL,
            help="On this machine: its data directory. [env: MESHWRIGHT_DATA_DIR; default: meshwright-data]",
        ),
    ] = None,
) -> None:
    """Never called: its parameters are what `remote` adds."""
    del server, token_file, ca_file, context, data_dir


NAMES = tuple(inspect.signature(_where).parameters)
_TYPES: dict[str, Callable[[Any], Any]] = {
    "server": str, "data_dir": Path, "context": str, "token_file": Path, "ca_file": Path,
}  # fmt: skip


def remote(command: Callable[Concatenate[Api, P], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A plain function for typer. What the coroutine raises is for `meshwright.cli.main` to tell."""
    return _runner(command, None)


def remote_unless(
    option: str,
) -> Callable[[Callable[Concatenate[Api, P], Coroutine[Any, Any, None]]], Callable[..., None]]:
    """As `remote`, for a command that asks nobody where its parameter `option` is given: the API that it gets then is not open."""
    return lambda command: _runner(command, option)


def _runner(
    command: Callable[Concatenate[Api, P], Coroutine[Any, Any, None]], unless: str | None
) -> Callable[..., None]:
    @functools.wraps(command)
    def run(*args: P.args, **given: P.kwargs) -> None:
        wanted = Wanted(**{name: given.pop(name) for name in NAMES})  # type: ignore[arg-type]
        chosen = choose(wanted)
        if unless is not None and given.get(unless) is not None:
            asyncio.run(command(_closed(chosen), *args, **given))
        else:
            asyncio.run(_opened(chosen, lambda api: command(api, *args, **given)))

    own = list(inspect.signature(command).parameters.values())[1:]
    hints = _hints(command, [each.name for each in own])
    parameters = [each.replace(annotation=hints[each.name], kind=each.KEYWORD_ONLY) for each in own]
    added = get_type_hints(_where, include_extras=True)
    parameters += [
        each.replace(annotation=added[each.name], kind=each.KEYWORD_ONLY)
        for each in inspect.signature(_where).parameters.values()
    ]
    # typer reads these; what functools.wraps left would lead it to the coroutine.
    run.__dict__.pop("__wrapped__")
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def completing(
    ask: Callable[[Api, typer.Context], Coroutine[Any, Any, Iterable[str]]],
) -> Callable[[typer.Context, str], list[str]]:
    """For `autocompletion=`: what a control plane knows. Who completes is told no errors, and waits but a moment."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        wanted = Wanted(
            **{name: ctx.params.get(name) and kind(ctx.params[name]) for name, kind in _TYPES.items()}
        )
        try:
            found = asyncio.run(_opened(choose(wanted), lambda api: ask(api, ctx), patience=COMPLETION))
        except (MeshwrightError, OSError, KeyError, TypeError, ValueError):
            return []  # There is nowhere to say it: a message would end up in the line that is typed.
        return [each for each in found if each.startswith(incomplete)]

    return complete


def _closed(chosen: Chosen) -> Api:
    from meshwright.api_client import Api

    return Api(chosen.target, namespace=chosen.namespace)


async def _opened(
    chosen: Chosen, call: Callable[[Api], Coroutine[Any, Any, T]], patience: float | None = None
) -> T:
    from meshwright.api_client import PATIENCE, Api
    from meshwright.commands.output import tell

    async with Api(
        chosen.target,
        namespace=chosen.namespace,
        patience=patience or PATIENCE,
        # Who completes a name is told nothing: it would end up in the line that is typed.
        tell=_say_nothing if patience else lambda said: tell(f"NOTE: {said}"),
    ) as api:
        return await call(api)


def _say_nothing(_: str) -> None: ...


def _hints(command: Callable[..., Any], names: list[str]) -> dict[str, Any]:
    """Without the first parameter: what it names is imported for type checks only."""
    written = {name: command.__annotations__[name] for name in names}
    holder = type("_Holder", (), {"__annotations__": written, "__module__": command.__module__})
    return get_type_hints(holder, include_extras=True)
