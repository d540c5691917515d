"""The questions that several programs ask a control plane, by the API."""

from __future__ import annotations

import json
from pathlib import Path

from api.shapes.ca import CaStatus
from api.shapes.mesh import Released, Services, Workloads
from api.shapes.status import Listing, PlaintextReport, Status
from mesh.names import Key
from meshwright.api_client import Api, path
from meshwright.targets import OnThisMachine


def on_this_machine(data_dir: Path) -> Api:
    """Whoever may use the data directory is its admin."""
    return Api(OnThisMachine(data_dir))


async def get_status(data_dir: Path) -> Status:
    async with on_this_machine(data_dir) as api:
        return await api.read(Status, "status")


async def get_listing(data_dir: Path) -> Listing:
    async with on_this_machine(data_dir) as api:
        services, workloads = await api.read(Services, "services"), await api.read(Workloads, "workloads")
        return Listing(services=services.items, workloads=workloads.items)


async def get_plaintext(data_dir: Path) -> PlaintextReport:
    async with on_this_machine(data_dir) as api:
        return await api.read(PlaintextReport, "plaintext")


async def get_config_dump(data_dir: Path, proxy: Key) -> str:
    """As JSON."""
    async with on_this_machine(data_dir) as api:
        answer = await api.get(path("proxies", proxy.namespace, proxy.name, "config-dump"))
        return json.dumps(answer.body)


async def release_holds(data_dir: Path, service: Key | None) -> int:
    """How many holds were ended; NotFoundError if there were none."""
    which = (service.namespace, service.name) if service is not None else ()
    async with on_this_machine(data_dir) as api:
        answer = await api.send("POST", path("holds", "release", *which))
        return api.model(Released, answer.body).released


async def get_ca(data_dir: Path) -> CaStatus:
    async with on_this_machine(data_dir) as api:
        return await api.read(CaStatus, "ca")


async def rotate_ca(data_dir: Path, *, what: str, by_hand: bool) -> CaStatus:
    async with on_this_machine(data_dir) as api:
        wish = {"what": what, "byHand": by_hand}
        return api.model(CaStatus, (await api.send("POST", "ca/rotate", wish)).body)


async def command_ca(data_dir: Path, command: str) -> CaStatus:
    """`command`: abort or proceed."""
    async with on_this_machine(data_dir) as api:
        return api.model(CaStatus, (await api.send("POST", path("ca", command))).body)
