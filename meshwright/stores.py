"""Which store there is, by the settings, and how it is opened."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from discovery.consul_options import ConsulOptions
from meshwright.errors import SettingsError
from meshwright.settings import Settings
from store.backend import Backend
from store.consul_http import ConsulHttp
from store.consul_kv import ConsulBackend
from store.errors import StoreCorrupt, StoreError
from store.file_lock import held_alone
from store.followed import FILE as FOLLOWED
from store.followed import Followed
from store.housekeeping import GRACE, collect
from store.repository import Repository
from store.sqlite import SqliteBackend

FILE: Final = "store.db"
"""The embedded store, in the data directory."""
PREFIX: Final = "meshwright"
"""Where in Consul's KV the store is, if the setting does not say."""
LOOK: Final = timedelta(minutes=10)
HOUSEKEEPING: Final = timedelta(hours=6)
"""How often it is looked whether the store is to be tidied up, and how long it is not after it was."""
TIDIED: Final = "tidied"
STORE: Final = "store"
"""The name of the store as a source."""

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Repository | None]:
    """The store of a control plane, within the block; None if it is to have none. SettingsError, StoreError.

    A Consul need not answer now: the last good state serves until it does, as for a file that is damaged. One control plane uses a file.
    """
    if settings.store == "none":
        yield None
        return
    with contextlib.ExitStack() as alone:
        if (file := _file(settings.store, settings)) is not None:
            taken = (
                f"another control plane uses the store {file}: stop it, or give this one its own with --store; "
                "several that share a store need `--store consul:URL`"
            )
            alone.enter_context(held_alone(file.with_name(f".{file.name}.lock"), taken))
        async with opened(settings.store, settings, wait=False) as backend:
            yield Repository(backend, followed=Followed(settings.data_dir / FOLLOWED))


def _file(place: str, settings: Settings) -> Path | None:
    """The file of an embedded store."""
    kind, _, rest = place.partition(":")
    if kind != "sqlite":
        return None
    return Path(rest) if rest else settings.data_dir / FILE


@contextlib.asynccontextmanager
async def opened(
    place: str, settings: Settings, *, make: bool = True, wait: bool = True
) -> AsyncIterator[Backend]:
    """The store at `place`: `sqlite`, `sqlite:FILE`, `consul` (as the Consul of discovery) or `consul:URL[/PREFIX]`.

    `make`: a file that is not there is made. `wait`: it must answer, and be whole, before the block begins. SettingsError, StoreError.
    """
    kind, _, rest = place.partition(":")
    backend: Backend
    if (file := _file(place, settings)) is not None:
        if not make and not file.exists():
            raise SettingsError(f"there is no store {file}: name another by --store or --data-dir")
        try:
            backend = await SqliteBackend.open(file)
        except StoreCorrupt as error:
            if wait:
                raise
            log.critical("the store is damaged; its last good state serves", reason=str(error))
            backend = SqliteBackend.broken(file, error)
    elif kind == "consul":
        options, prefix = _consul(rest, settings)
        backend = (
            await ConsulBackend.open(options, prefix) if wait else ConsulBackend(ConsulHttp(options), prefix)
        )
    else:
        raise SettingsError(
            f"store {place!r} is not known: use sqlite, sqlite:FILE, consul or consul:URL[/PREFIX]"
        )
    try:
        yield backend
    finally:
        await backend.close()


def _consul(address: str, settings: Settings) -> tuple[ConsulOptions, str]:
    """How to reach it, and the prefix of its keys. Where the settings of the store say nothing, those of discovery hold for the same URL."""
    discovery = settings.consul
    if not address and discovery is None:
        raise SettingsError(
            "setting store (--store): consul at which address? Set consul.url, or say consul:http://127.0.0.1:8500"
        )
    url, prefix = _split(address or (discovery.url if discovery is not None else ""))
    same = discovery if discovery is not None and _split(discovery.url)[0] == url else None
    token = _read(settings.store_token_file) if settings.store_token_file is not None else None
    if token is None and same is not None:
        token = same.acl_token()
    ca, cert, key = (
        settings.store_ca_file or (same.ca_file if same is not None else None),
        settings.store_cert_file or (same.cert_file if same is not None else None),
        settings.store_key_file or (same.key_file if same is not None else None),
    )
    return (
        ConsulOptions(
            address=url,
            token=token or "",
            datacenter=(same.datacenter or "") if same is not None else "",
            ca_file=str(ca) if ca else None,
            cert_file=str(cert) if cert else None,
            key_file=str(key) if key else None,
        ),
        prefix,
    )


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"setting store_token_file: {file} cannot be read: {error}") from error


def _split(address: str) -> tuple[str, str]:
    scheme, slashes, rest = address.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}{slashes}{host}", path.strip("/") or PREFIX


async def keep_house(
    repository: Repository | None, keep: int | None, look: timedelta = LOOK, grace: float = GRACE
) -> None:
    """Now and then remove what no revision leads to, and old revisions beyond `keep`; until cancelled. One replica does it."""
    while True:
        await asyncio.sleep(look.total_seconds())
        if repository is None:
            continue
        backend = repository.backend
        try:
            async with backend.lock(TIDIED):
                if await backend.published(TIDIED):
                    continue  # By this replica or another, not long ago.
                removed = await collect(repository, keep, grace=grace)
                # Afterwards: what fails halfway is done again at the next look.
                await backend.publish(TIDIED, b"", HOUSEKEEPING.total_seconds())
        except StoreError as error:
            log.warning("the store was not tidied up", reason=str(error))
        else:
            log.info("the store was tidied up", revisions=removed.revisions, blobs=removed.blobs)
