"""The two sides of the comparison, driven alike: start, replace an endpoint, add a service."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from bench.processes import (
    LOOPBACK,
    Process,
    ask_json,
    free_ports,
    running,
    wait_until_answers,
    wait_until_listens,
)
from bench.shape import PROXY, Shape, files, policy_documents, proxy_name, service_documents, service_name

TRUST_DOMAIN = "mesh.local"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for mutual TLS: the bundle, the server's certificate and key, and those of each client with `%d` for its number."""

    bundle: pathlib.Path
    server_name: str
    server: tuple[pathlib.Path, pathlib.Path]
    client: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Server:
    """A control plane that serves the mesh. The callables return a function that makes the change at once: what can be
    prepared is prepared before the clock starts.
    """

    process: Process
    xds_port: int
    node: str
    replace: Callable[[str], Callable[[], object]]
    add: Callable[[str], Callable[[], object]]
    cluster: Callable[[int], str]
    tls: Tls | None = field(default=None)


class Side(Protocol):
    name: str

    def serving(self, folder: pathlib.Path, shape: Shape) -> contextlib.AbstractContextManager[Server]:
        """The server, ready for proxies; down again after the block."""
        ...


class Meshwright:
    """`meshwright serve` with a directory of documents."""

    def __init__(self, *, tls: bool = False, policies: int = 0) -> None:
        """`policies`: how many are in force, of several kinds."""
        self.name = "meshwright" + ("-tls" if tls else "") + ("-policies" if policies else "")
        self._tls = tls
        self._policies = policies

    @contextlib.contextmanager
    def serving(self, folder: pathlib.Path, shape: Shape) -> Iterator[Server]:
        documents, data = folder / "documents", folder / "data"
        documents.mkdir()
        if self._policies:
            (documents / "policies.yaml").write_text(policy_documents(shape, self._policies))
        for name, text in files(shape):
            (documents / name).write_text(text)
        tls = certificates(data, shape) if self._tls else None
        xds, join, admin, plaintext = free_ports(4)
        command = (
            *(sys.executable, "-m", "meshwright", "serve", "--data-dir", str(data)),
            *("--trust-domain", TRUST_DOMAIN, "--documents", str(documents), "--log-level", "warning"),
            *("--xds-address", f"{LOOPBACK}:{xds}", "--join-address", f"{LOOPBACK}:{join}"),
            *("--admin-address", f"{LOOPBACK}:{admin}", "--api-address", f"{LOOPBACK}:0"),
            *(() if self._tls else ("--plaintext-address", f"{LOOPBACK}:{plaintext}")),
        )
        with running(self.name, folder / "meshwright.log", *command) as process:
            wait_until_answers(process, admin, "/readyz")

            def written(number: int, first: str) -> Callable[[], object]:
                prepared = folder / "prepared"
                prepared.write_text(service_documents(shape, number, first))
                return lambda: prepared.rename(documents / f"{service_name(number)}.yaml")

            added = iter(range(shape.services, 2 * shape.services + 1))
            yield Server(
                process,
                xds if self._tls else plaintext,
                f"default/{PROXY}",
                replace=lambda endpoint: written(0, endpoint),
                add=lambda endpoint: written(next(added), endpoint),
                cluster=_scoped_cluster,
                tls=tls,
            )


class GoControlPlane:
    """The reference: go-control-plane's snapshot cache. `shape` is `plain` (its leanest) or `scoped` (what Meshwright serves)."""

    def __init__(self, binary: pathlib.Path, kind: str, *, tls: bool = False) -> None:
        self.name = f"go-control-plane-{kind}" + ("-tls" if tls else "")
        self._binary = binary
        self._kind = kind
        self._tls = tls

    @contextlib.contextmanager
    def serving(self, folder: pathlib.Path, shape: Shape) -> Iterator[Server]:
        tls = certificates(folder / "data", shape) if self._tls else None
        xds, control = free_ports(2)
        command = (
            *(str(self._binary), "-addr", f"{LOOPBACK}:{xds}", "-http", f"{LOOPBACK}:{control}"),
            *("-services", str(shape.services), "-endpoints", str(shape.endpoints), "-shape", self._kind),
            *(("-meshed",) if shape.meshed else ()),
            *(("-cert", str(tls.server[0]), "-key", str(tls.server[1])) if tls else ()),
            *(("-client-ca", str(tls.bundle)) if tls else ()),
        )
        with running(self.name, folder / "peer.log", *command) as process:
            wait_until_listens(process, xds)
            wait_until_listens(process, control)

            def posted(path: str) -> Callable[[], object]:
                return lambda: ask_json(process, control, "POST", path)

            yield Server(
                process,
                xds,
                PROXY,
                replace=lambda endpoint: posted(f"/change?endpoint={endpoint}"),
                add=lambda endpoint: posted(f"/add?endpoint={endpoint}"),
                cluster=_scoped_cluster if self._kind == "scoped" else service_name,
                tls=tls,
            )


def _scoped_cluster(number: int) -> str:
    return f"default/{service_name(number)}:80"


def certificates(data: pathlib.Path, shape: Shape) -> Tls:
    """Certificates of Meshwright's own authority in `data`: for a server, and for every proxy as if it had joined."""
    return asyncio.run(_certificates(data, shape))


async def _certificates(data: pathlib.Path, shape: Shape) -> Tls:
    from ca import control_plane
    from ca.authority import LeafRequest
    from ca.builtin import BuiltinAuthority
    from ca.csr import make_csr
    from ca.keys import key_pem, new_key
    from ca.times import system_clock
    from mesh.identity import Identity
    from mesh.names import Key

    authority = BuiltinAuthority.open(data, TRUST_DOMAIN, system_clock)
    folder = data.parent / "certificates"
    folder.mkdir(mode=0o700)
    server_name = control_plane.server_name(TRUST_DOMAIN)

    async def issue(name: str, identity: Identity, workload: Key | None, dns_names: tuple[str, ...]) -> None:
        key = new_key()
        issued = await authority.issue(
            LeafRequest(identity, make_csr(key), workload=workload, dns_names=dns_names)
        )
        (folder / f"{name}.crt").write_bytes(issued.chain_pem)
        (folder / f"{name}.key").touch(mode=0o600)
        (folder / f"{name}.key").write_bytes(key_pem(key))

    await issue("server", control_plane.identity(TRUST_DOMAIN), None, (server_name,))
    for number in range(shape.proxies):
        name = proxy_name(number)
        await issue(name, Identity(TRUST_DOMAIN, "default", "web"), Key("default", name), ())
    pattern = folder / PROXY
    return Tls(
        authority.bundle_path,
        server_name,
        (folder / "server.crt", folder / "server.key"),
        (f"{pattern}.crt", f"{pattern}.key"),
    )


def settle(seconds: float) -> None:
    """Let what the server does after an answer end, such as freeing what it no longer needs. Not part of any time measured."""
    time.sleep(seconds)
