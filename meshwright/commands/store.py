"""`meshwright store …`: the store as such, without the control plane: checked, saved, moved."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Protocol

import typer

from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir

if TYPE_CHECKING:
    from store.repository import Repository

app = typer.Typer(no_args_is_help=True, help="Check, save and move the store of documents.")

Place = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="MESHWRIGHT_STORE",
        help="sqlite (in the data directory), sqlite:FILE, consul or consul:URL/PREFIX.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="MESHWRIGHT_STORE_TOKEN_FILE", help="A file that holds Consul's ACL token."),
]
CaFile = Annotated[
    Path | None, typer.Option(envvar="MESHWRIGHT_STORE_CA_FILE", help="Vouches for Consul's certificate.")
]


class At(Protocol):
    """Opens a store by its place. `make`: one that is not there is made."""

    def __call__(
        self, place: str, *, make: bool = False
    ) -> contextlib.AbstractAsyncContextManager[Repository]: ...


Work = Callable[[At], Coroutine[Any, Any, None]]


@app.command()
def check(
    store: Place = "sqlite",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Read all of the store, with every revision, and check it against its hashes. It may be in use."""
    from store.checking import check as checked
    from store.sqlite import SqliteBackend

    async def work(at: At) -> None:
        async with at(store) as repository:
            if isinstance(repository.backend, SqliteBackend):
                await repository.backend.check()
            found = await checked(repository)
            typer.echo(
                f"{repository.where} is whole: {found.documents} documents, {found.revisions} revisions, {found.blobs} blobs"
            )

    _run(work, data_dir, token_file, ca_file)


@app.command("export")
def save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; - for standard output.")],
    store: Place = "sqlite",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Save the whole store, with its history, as lines of JSON. It may be in use. Secrets in it are not encrypted."""
    from store.portable import export

    async def work(at: At) -> None:
        async with at(store) as repository:
            with _written(file) as out:
                async for line in export(repository):
                    out.write(line)
            typer.echo(f"saved revision {(await repository.head()).number} of {repository.where}", err=True)

    _run(work, data_dir, token_file, ca_file)


@app.command("import")
def bring(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `store export` wrote; - for standard input.")
    ],
    store: Place = "sqlite",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Load an export into an empty store, or into one that it continues. Nothing is changed unless all of it is right."""
    from store.portable import load

    async def work(at: At) -> None:
        async with at(store, make=True) as repository:
            with _read(file) as lines:
                loaded = await load(repository.backend, _following(lines))
            typer.echo(
                f"{repository.where} is at revision {loaded.head}: {loaded.revisions} revisions are new"
            )

    _run(work, data_dir, token_file, ca_file)


@app.command()
def copy(
    source: Annotated[
        str, typer.Option("--from", help="The store to copy: as --store of the other commands.")
    ],
    target: Annotated[str, typer.Option("--to", help="An empty store, or an earlier copy.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Copy a store with its history into another, for instance from SQLite to Consul. Ids and numbers stay the same."""
    from store.portable import export, load

    async def work(at: At) -> None:
        async with at(source) as old, at(target, make=True) as new, contextlib.aclosing(export(old)) as lines:
            loaded = await load(new.backend, lines)
            typer.echo(f"{new.where} is at revision {loaded.head}: {loaded.revisions} revisions are new")

    _run(work, data_dir, token_file, ca_file)


@app.command()
def collect(
    store: Place = "sqlite",
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many revisions to keep; all when not given.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Remove what no revision leads to, and old revisions beyond those to be kept. It may be in use."""
    from store.housekeeping import collect as collected

    async def work(at: At) -> None:
        async with at(store) as repository:
            removed = await collected(repository, keep)
            typer.echo(
                f"removed {removed.revisions} revisions and {removed.blobs} blobs of {repository.where}"
            )

    _run(work, data_dir, token_file, ca_file)


@app.command()
def adopt(
    store: Place = "sqlite",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Follow the store as it is now, although it did not grow from what this control plane followed: it was emptied or exchanged on
    purpose. What it lacks is then taken from the mesh. The control plane may run; say it for each replica's data directory.
    """
    from store.followed import FILE, adopt

    async def work(at: At) -> None:
        async with at(store) as repository:
            head = await repository.backend.head()
            adopt(data_dir / FILE, head)
            typer.echo(f"revision {head.number} of {repository.where} is followed from now on")

    _run(work, data_dir, token_file, ca_file)


def _run(work: Work, data_dir: Path, token_file: Path | None, ca_file: Path | None) -> None:
    """Run `work`, which is given what opens a store by its place."""
    from meshwright.settings import load
    from meshwright.stores import opened
    from store.repository import Repository

    settings = load(None, {"data_dir": data_dir, "store_token_file": token_file, "store_ca_file": ca_file})

    @contextlib.asynccontextmanager
    async def at(place: str, *, make: bool = False) -> AsyncIterator[Repository]:
        async with opened(place, settings, make=make) as backend:
            yield Repository(backend)

    asyncio.run(work(at))


@contextlib.contextmanager
def _written(file: Path) -> Iterator[BinaryIO]:
    """A new file, readable by its owner alone, that is there only if all was written."""
    from meshwright.errors import SettingsError

    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists():
        raise SettingsError(f"{file} is there already: name another file, or remove it")
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    part.touch(0o600)
    try:
        with part.open("wb") as out:
            yield out
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _read(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    with file.open("rb") as lines:
        yield lines


async def _following(lines: BinaryIO) -> AsyncIterator[bytes]:
    for line in lines:
        yield line
