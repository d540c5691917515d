"""The authority that the settings name: built in, an intermediate from files, or Vault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from ca import files
from ca.builtin import BuiltinAuthority
from ca.errors import CaError
from ca.from_files import AuthorityFiles, FilesAuthority
from ca.outside import REMEDY, OutsideAuthority
from ca.signer import Signers
from ca.times import system_clock
from ca.vault import VaultAuthority, VaultOptions
from meshwright.passphrase import passphrase
from meshwright.settings import Settings

LOOK: Final = 5.0
"""Seconds between two looks at an authority that is kept elsewhere."""

log = structlog.get_logger(__name__)


async def open_authority(
    settings: Settings, data_dir: Path, shared: AuthorityFiles | None = None
) -> BuiltinAuthority | OutsideAuthority:
    """`shared`: the files of one that several control planes share, which goes before the settings'. AuthorityError, SettingsError; OSError."""
    trust_domain, aliases = settings.trust_domain, settings.trust_domain_aliases
    secret = await asyncio.to_thread(passphrase, settings)
    if settings.vault is not None:
        given = settings.vault
        options = VaultOptions(
            given.address,
            given.mount,
            given.role,
            given.token_file,
            given.namespace,
            given.ca_file,
            given.roots_file,
        )
        vault = VaultAuthority(options, trust_domain, system_clock)
        await vault.open()
        return await asyncio.to_thread(_outside, vault, data_dir)
    given_files = settings.ca_files
    where = shared or (
        AuthorityFiles(given_files.chain, given_files.key, given_files.roots) if given_files else None
    )
    if where is not None:
        kept = await asyncio.to_thread(_from_files, where, trust_domain, aliases, secret)
        return await asyncio.to_thread(_outside, kept, data_dir, where.remedy or REMEDY)
    signers = Signers(kind=settings.ca_key, passphrase=secret)
    return await asyncio.to_thread(
        BuiltinAuthority.open, data_dir, trust_domain, system_clock, signers, aliases
    )


def _from_files(
    where: AuthorityFiles, trust_domain: str, aliases: tuple[str, ...], secret: bytes | None
) -> FilesAuthority:
    return FilesAuthority.open(where, trust_domain, system_clock, passphrase=secret, aliases=aliases)


def _outside(
    authority: FilesAuthority | VaultAuthority, data_dir: Path, remedy: str = REMEDY
) -> OutsideAuthority:
    files.own_directory(data_dir)
    files.private_directory(data_dir / "ca")  # where the ledger of what was issued is
    return OutsideAuthority(authority, data_dir, system_clock, remedy)


async def follow(
    authority: BuiltinAuthority | OutsideAuthority,
    changed: Callable[[], Awaitable[None]],
    every: float = LOOK,
) -> None:
    """Call `changed` whenever the roots of an authority that is kept elsewhere are others, until cancelled."""
    if isinstance(authority, BuiltinAuthority):
        return
    told, to_tell = "", False
    while True:
        await asyncio.sleep(every)
        try:
            if await authority.follow():
                to_tell = True
                log.info(
                    "the trust bundle was changed where the authority is kept",
                    roots=len(authority.rotation.bundle),
                )
            if to_tell:  # of now, or of before if that failed
                await changed()
                to_tell = False
            problem = authority.problem
        except (CaError, OSError) as error:
            problem = str(error)
        if problem and problem != told:
            log.warning("the authority's roots cannot be read: those of before are used", reason=problem)
        told = problem
