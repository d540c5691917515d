"""`meshwright plan` and `meshwright upgrade-check` against a running control plane with connected clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.api import Api
from tests.support.mesh import Mesh
from tests.support.processes import eventually, meshwright
from tests.support.random_changes import SIDECARS, Document, beginning, document
from tests.support.xds_streams import Stream
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE

TYPES = (CLUSTER, ENDPOINT, LISTENER, SCOPED_ROUTE, ROUTE)
TIMEOUT = document(
    "meshwright.dev/v1alpha1",
    "TimeoutPolicy",
    "patient",
    {"targetRefs": [{"kind": "Service", "name": "api"}], "request": "7s"},
)
PATCHED = "import {module}; {module}.{name} = {value!r}; from meshwright.cli import main; main()"
"""A version of ours that renders otherwise."""


async def follow(stream: Stream) -> None:
    """As a proxy that takes everything."""
    for type_url in TYPES:
        await stream.ask(type_url, "*")
    while True:
        await stream.acknowledge(await stream.read(patience=600.0))


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Mesh, Api]]:
    """A control plane with the documents of `beginning`, and a client for each sidecar that has everything."""
    async with Mesh(folder, files=False) as mesh, contextlib.AsyncExitStack() as stack:
        server = await mesh.serve()
        api = Api(mesh.data)
        await write(api, *beginning())
        group = await stack.enter_async_context(asyncio.TaskGroup())
        following = [
            group.create_task(
                follow(
                    await stack.enter_async_context(
                        Stream(mesh.plaintext_port, delta=True, node=f"default/{name}")
                    )
                )
            )
            for name in SIDECARS
        ]

        async def in_sync() -> bool:
            found = (await mesh.status()).proxies
            return len(found) == len(SIDECARS) and all(
                len(each.types) == len(TYPES) and all(one.in_sync for one in each.types) for each in found
            )

        try:
            await eventually(in_sync, "every client has everything", server)
            yield mesh, api
        finally:
            for each in following:
                each.cancel()


async def write(api: Api, *documents: Document) -> int:
    answer = await api("POST", "/api/v1/batch", {"documents": list(documents), "reason": "test"})
    assert answer.status == 200, answer
    revision: int = answer.json["revision"]
    told = await api("GET", f"/api/v1/revisions/{revision}/acknowledgements?timeout=60")
    assert told.json["state"] == "acknowledged", told
    return revision


async def run(*command: str, stdin: str = "") -> tuple[int, str, str]:
    """The exit code, and what stood on standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, error = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, output.decode(), error.decode()


def patched(module: str, name: str, value: object, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", PATCHED.format(module=module, name=name, value=value), *arguments]


async def test_a_change_is_planned_before_it_is_made(tmp_path: Path) -> None:
    async with serving(tmp_path) as (mesh, api):
        where = ("--data-dir", str(mesh.data))
        file = tmp_path / "timeout.yaml"
        file.write_text(yaml.safe_dump(TIMEOUT))
        code, said, error = await run(*meshwright("plan", str(file), *where))
        assert (code, error) == (0, "")
        assert "  + TimeoutPolicy default/patient\n" in said
        assert 'routes[default].route.timeout: "0s" → "7s"' in said
        assert "Envoy takes it" in said

        # From standard input, for scripts, and as an answer to "is it in force?".
        code, said, _ = await run(
            *meshwright("plan", "-", "--check", "--no-envoy", "-o", "json", *where),
            stdin=yaml.safe_dump(TIMEOUT),
        )
        assert code == 1
        found = json.loads(said)
        assert [each["document"] for each in found["documents"]] == ["TimeoutPolicy default/patient"]
        assert {each["type"] for each in found["resources"]} == {"RouteConfiguration"}
        assert found["check"]["result"] == "not-run"
        first = await write(api, TIMEOUT)
        code, said, _ = await run(*meshwright("plan", str(file), "--check", *where))
        assert (code, said.splitlines()[0]) == (0, "Nothing changes.")

        # Back to where it began, and what is wrong with lines.
        code, said, _ = await run(*meshwright("plan", "--revision", str(first - 1), *where))
        assert code == 0
        assert said.startswith("Documents\n  - TimeoutPolicy default/patient\n")
        code, said, error = await run(*meshwright("plan", "--delete", "tp/patient", *where))
        assert said.startswith("Documents\n  - TimeoutPolicy default/patient\n")
        file.write_text(yaml.safe_dump({**TIMEOUT, "spec": {**TIMEOUT["spec"], "request": "soon"}}))
        code, _, error = await run(*meshwright("plan", str(file), *where))
        assert code == 1
        assert f"{file}:" in error
        assert "spec.request" in error
        code, _, error = await run(*meshwright("plan", "--revision", "999", *where))
        assert code == 4, error


async def test_a_script_that_is_planned_does_nothing_here_and_who_planned_it_is_in_the_audit_log(
    tmp_path: Path,
) -> None:
    """The Envoy that checks a plan runs as the control plane's user, who may read the mesh's keys."""
    mark = tmp_path / "mark"
    opens = f'io.open("{mark}", "w"):close() io.popen("touch {mark}"):close()'
    target = {"targetRefs": [{"kind": "Service", "name": "api"}]}
    code = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute",
        "sourceCode": {"inlineString": opens},
    }
    host = {
        "name": "evil",
        "domains": ["evil.example"],
        "typedPerFilterConfig": {"meshwright.lua.last": code},
    }
    patch = {"resource": "RouteConfiguration", "name": "default/api", "merge": {"virtualHosts": [host]}}
    version = "meshwright.dev/v1alpha1"
    lua = f"{opens} function envoy_on_request(handle) end"
    documents = [
        document(version, "Extension", "evil", {**target, "side": "caller", "lua": lua}),
        document(version, "EnvoyPatch", "evil", {**target, **patch}),
    ]
    async with serving(tmp_path) as (mesh, api):
        answer = await api("POST", "/api/v1/plan", {"documents": documents})
        assert answer.status == 200, answer
        assert answer.json["check"]["result"] == "valid", answer.json["check"]
        assert "lua.v3.Lua" in answer.json["check"]["text"]
        assert not mark.exists()

        async def told() -> bool:
            words = ('"api write"', '"plan"', '"caller"', '"from"', "put EnvoyPatch default/evil", "dry_run")
            lines = (mesh.data / "audit.log").read_text().splitlines()
            return any(all(word in line for word in words) for line in lines)

        await eventually(told, "the plan is in the audit log")


async def test_what_another_version_would_send_is_told_before_it_serves(tmp_path: Path) -> None:
    async with serving(tmp_path) as (mesh, _):
        where = ("--data-dir", str(mesh.data))
        code, said, error = await run(*meshwright("upgrade-check", "--check", *where))
        assert (code, error) == (0, ""), said
        assert said.endswith("It would send nothing to any of 6 proxies.\n")

        slower = patched(
            "envoy.clusters", "CONNECT_TIMEOUT", 6, ["upgrade-check", "--check", "-o", "json", *where]
        )
        code, said, _ = await run(*slower)
        assert code == 1
        found: dict[str, Any] = json.loads(said)
        assert found["ofProxies"] == 6
        assert {each["type"] for each in found["resources"]} == {"Cluster"}
        assert {
            (one["path"], one["before"], one["after"])
            for each in found["resources"]
            for one in each["fields"]
        } == {("connect_timeout", '"5s"', '"6s"')}
        assert found["drains"] == 0

        # What was saved is compared in the same way, later and elsewhere.
        saved = tmp_path / "snapshot.json"
        code, _, _ = await run(*meshwright("upgrade-check", "--save", str(saved), *where))
        assert code == 0
        assert saved.stat().st_mode & 0o077 == 0
    other = patched(
        "envoy.listeners", "TLS_INSPECTOR", "another", ["upgrade-check", "--snapshot", str(saved)]
    )
    code, said, _ = await run(*other)
    assert code == 0
    assert "~ Listener inbound/15101: its connections are drained" in said
    assert said.endswith("Connections of 6 proxies would be drained.\n")
