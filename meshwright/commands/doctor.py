"""`meshwright doctor`: is this machine right, and is the control plane?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from rich.console import Console

    from meshwright.api_client import Api
    from meshwright.doctor import Finding

CLUSTER = "cluster"
"""The source of documents that are objects of a Kubernetes cluster, as `status` has it."""
STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


@remote
async def doctor(api: Api, output: OutputOption = Output.TABLE) -> None:
    """Check this machine and the control plane: Envoy, clock, ports, the data directory, certificates, the store.

    Each finding that is not well says the way out. It exits with 1 if something failed.
    """
    import dataclasses

    from meshwright.commands.output import show
    from meshwright.doctor import machine
    from meshwright.settings import Settings
    from meshwright.targets import OnThisMachine

    of_control_plane = await _control_plane(api)
    running = of_control_plane[0].state == "ok"
    here = isinstance(api.target, OnThisMachine)
    fields = Settings.model_fields
    addresses = {
        name: str(fields[name].default)
        for name in ("xds_address", "join_address", "admin_address", "api_address")
    }
    data_dir = api.target.data_dir if isinstance(api.target, OnThisMachine) else None
    found = await asyncio.to_thread(lambda: list(machine(data_dir, addresses, running=running or not here)))
    findings = [*found, *of_control_plane]
    show(
        output,
        [dataclasses.asdict(each) for each in findings],
        lambda console: _people(console, findings),
        [each.check for each in findings],
    )
    raise typer.Exit(1 if any(each.state == "failed" for each in findings) else 0)


async def _control_plane(api: Api) -> list[Finding]:
    from datetime import UTC, datetime

    from api.shapes.status import Status
    from meshwright.commands.version import own
    from meshwright.doctor import Finding, certificates
    from meshwright.errors import MeshwrightError
    from meshwright.tables import troubled

    try:
        status = await api.read(Status, "status")
    except MeshwrightError as error:
        said, _, remedy = str(error).partition(": ")
        return [Finding("control plane", "failed", said, remedy)]
    found = [Finding("control plane", "ok", f"{status.version} answers at {api.target}")]
    if status.version != own():
        found.append(
            Finding(
                "version",
                "warning",
                f"this is {own()}, and it is {status.version}",
                "use the same version of both",
            )
        )
    if not status.ready:
        found.append(
            Finding(
                "ready",
                "failed",
                "a source has not answered yet, so that nobody is served",
                "see `meshwright status`",
            )
        )
    elif troubled(status):
        found.append(Finding("mesh", "warning", "something wants to be looked at", "see `meshwright status`"))
    found += certificates(status.certificates, datetime.now(UTC))
    found.append(await _store(api, in_cluster=any(each.source == CLUSTER for each in status.sources)))
    return found


async def _store(api: Api, *, in_cluster: bool) -> Finding:
    """Whether it takes writes, without one: a dry run goes as far as the store. `in_cluster`: documents are objects of Kubernetes."""
    from meshwright.doctor import Finding
    from meshwright.errors import ForbiddenError, MeshwrightError, NotFoundError

    try:
        await api.get("revisions", {"limit": 1})
    except NotFoundError:  # what a control plane without a store says of its past
        where = "documents are objects of the cluster" if in_cluster else "documents are read from files"
        return Finding("store", "ok", f"there is none (setting store): {where}")
    except MeshwrightError:
        pass  # The dry run says why.
    probe = {
        "apiVersion": "meshwright.dev/v1alpha1",
        "kind": "Service",
        "metadata": {"name": "meshwright-doctor"},
        "spec": {"ports": [{"name": "tcp", "port": 1}]},
    }
    try:
        answer = (await api.send("POST", "batch", {"documents": [probe], "dryRun": True})).body
    except ForbiddenError:
        return Finding(
            "store", "warning", "your role may not write, so it is not known", "use a token of an editor"
        )
    except MeshwrightError as error:
        said, _, remedy = str(error).partition(": ")
        return Finding("store", "failed", said, remedy or "see the control plane's log")
    return Finding("store", "ok", f"it takes writes, and is at revision {max(0, answer['revision'] - 1)}")


def _people(console: Console, findings: Sequence[Finding]) -> None:
    from meshwright.commands.output import line

    width = max(len(each.check) for each in findings)
    for each in findings:
        line(console, f"{each.state:7}  {each.check.ljust(width)}  {each.found}", STYLES[each.state])
        if each.remedy:
            line(console, f"{'':7}  {'':{width}}  → {each.remedy}")
    counts = {state: sum(1 for each in findings if each.state == state) for state in STYLES}
    line(console, f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed")
