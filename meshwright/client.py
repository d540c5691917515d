"""The command line's side of the admin socket."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ValidationError

from api.shapes.ca import CaStatus
from api.shapes.status import Listing, PlaintextReport, Status
from mesh.names import Key
from meshwright.data_dir import SOCKET
from meshwright.errors import UnreachableError

PATIENCE = 5.0
"""Seconds until an answer has to be there."""

Answer = TypeVar("Answer", bound=BaseModel)


async def get_status(data_dir: Path) -> Status:
    return _read(Status, await _ask(data_dir, "GET", "/status"))


async def get_listing(data_dir: Path) -> Listing:
    return _read(Listing, await _ask(data_dir, "GET", "/listing"))


async def get_plaintext(data_dir: Path) -> PlaintextReport:
    return _read(PlaintextReport, await _ask(data_dir, "GET", "/plaintext"))


async def get_config_dump(data_dir: Path, proxy: Key) -> str:
    return await _ask(data_dir, "GET", f"/config-dump/{_path(proxy)}")


async def release_holds(data_dir: Path, service: Key | None) -> str:
    return await _ask(data_dir, "POST", f"/holds/release/{_path(service)}" if service else "/holds/release")


async def get_ca(data_dir: Path) -> CaStatus:
    return _read(CaStatus, await _ask(data_dir, "GET", "/ca"))


async def rotate_ca(data_dir: Path, *, what: str, by_hand: bool) -> CaStatus:
    wish = f"what={what}" + ("&by-hand" if by_hand else "")
    return _read(CaStatus, await _ask(data_dir, "POST", f"/ca/rotate?{wish}"))


async def command_ca(data_dir: Path, command: str) -> CaStatus:
    """`command`: abort or proceed."""
    return _read(CaStatus, await _ask(data_dir, "POST", f"/ca/{command}"))


async def forget_in_ca(data_dir: Path, workload: Key, *, even_if_connected: bool = False) -> CaStatus:
    wish = "?even-if-connected" if even_if_connected else ""
    return _read(CaStatus, await _ask(data_dir, "POST", f"/ca/forget/{_path(workload)}{wish}"))


def _read(kind: type[Answer], text: str) -> Answer:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise UnreachableError(
            "the control plane's answer is not one of this version: run the `meshwright` that it was started with"
        ) from error


def _path(key: Key) -> str:
    return f"{quote(key.namespace, safe='')}/{quote(key.name, safe='')}"


async def _ask(data_dir: Path, method: str, path: str) -> str:
    """The answer's text. UnreachableError with the way out, or with what the control plane said."""
    socket = data_dir / SOCKET
    if not socket.exists():
        raise UnreachableError(
            f"no control plane runs with the data directory {data_dir}: start `meshwright serve` there, "
            "or name its directory with --data-dir"
        )
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(socket)), timeout=aiohttp.ClientTimeout(total=PATIENCE)
            ) as session,
            session.request(method, f"http://meshwright{path}") as answer,
        ):
            text = await answer.text()
            if answer.status != 200:
                raise UnreachableError(text)
            return text
    except TimeoutError as error:
        raise UnreachableError(
            f"no answer on {socket} within {PATIENCE:.0f} s: is the control plane stopped, or overloaded?"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnreachableError(
            f"the control plane does not answer on {socket} ({error}): is it running, and are you its user?"
        ) from error
