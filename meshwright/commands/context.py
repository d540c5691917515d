"""`meshwright context`: names for control planes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import Output, OutputOption

app = Commands(help="Named control planes, in ~/.config/meshwright/config.yaml.")


def _names(incomplete: str) -> list[str]:
    from meshwright.commands.contexts import read

    return [name for name in read().contexts if name.startswith(incomplete)]


NAME = Annotated[str, typer.Argument(metavar="NAME", help="The name of the context.", autocompletion=_names)]


@app.command("list")
def list_contexts(output: OutputOption = Output.TABLE) -> None:
    """List the contexts, the one that is used marked with a star."""
    from meshwright.commands.contexts import config_path, read
    from meshwright.commands.layout import Column
    from meshwright.commands.output import line, show, table

    file = read()
    data = file.model_dump(mode="json", by_alias=True, exclude_none=True)
    rows = [
        ("*" if name == file.current else "", name, each.server or str(each.data_dir), each.namespace)
        for name, each in sorted(file.contexts.items())
    ]
    columns = ("", "context", Column("control plane", folds=True), "namespace")
    show(
        output,
        data,
        lambda console: (
            table(console, columns, rows)
            if rows
            else line(console, f"there are no contexts in {config_path()}")
        ),
        sorted(file.contexts),
    )


@app.command("use")
def use(name: NAME) -> None:
    """Use a context from now on, where neither options nor the environment name a control plane."""
    from meshwright.commands.contexts import known, read, write

    file = read()
    known(file, name)
    write(file.model_copy(update={"current": name}))
    typer.echo(f"using {name}")


@app.command("set")
def set_context(
    name: NAME,
    server: Annotated[str | None, typer.Option(metavar="URL", help="The control plane over HTTPS.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Holds the API token for it.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="The CA certificates that it is verified by.")] = None,
    certificate_file: Annotated[
        Path | None, typer.Option(help="A client certificate to show, instead of a token.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="The key of the client certificate.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="The control plane of this machine with that data directory.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Where a command names none.")
    ] = None,
) -> None:
    """Make a context, or change what is given of one. The first becomes the one that is used."""
    from pydantic import ValidationError

    from meshwright.commands.context_file import Context
    from meshwright.commands.contexts import checked, read, write
    from meshwright.errors import UsageError

    file = read()
    given = {
        "server": checked(server) if server else None,
        "data_dir": data_dir.absolute() if data_dir else None,
        "token_file": token_file.absolute() if token_file else None,
        "ca_file": ca_file.absolute() if ca_file else None,
        "certificate_file": certificate_file.absolute() if certificate_file else None,
        "key_file": key_file.absolute() if key_file else None,
        "namespace": namespace,
    }
    before = file.contexts[name].model_dump() if name in file.contexts else {}
    if server and not data_dir:
        before.pop("data_dir", None)
    if data_dir and not server:
        before = {key: value for key, value in before.items() if key == "namespace"}
    try:
        context = Context.model_validate(
            before | {key: value for key, value in given.items() if value is not None}
        )
    except ValidationError as error:
        raise UsageError(f"context {name}: give either --server or --data-dir") from error
    path = write(
        file.model_copy(
            update={"current": file.current or name, "contexts": {**file.contexts, name: context}}
        )
    )
    typer.echo(f"context {name} is in {path}")


@app.command("delete")
def delete(name: NAME) -> None:
    """Forget a context."""
    from meshwright.commands.contexts import known, read, write

    file = read()
    known(file, name)
    left = {key: value for key, value in file.contexts.items() if key != name}
    current = None if file.current == name else file.current
    write(file.model_copy(update={"current": current, "contexts": left}))
    typer.echo(f"forgot {name}")
