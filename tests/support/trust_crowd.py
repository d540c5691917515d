"""A program: many simulated proxies, each with the real agent (join, renewal, trust bundle) and, for Envoy, an ADS stream over mutual TLS.

python -m tests.support.trust_crowd '{"xds": "127.0.0.1:1", "join": "…", "bundle": "roots.pem", "token": "…", "folder": "…", "proxies": 30}'

It reads commands, one a line: `silence <n>` stops the Envoy of proxy n from acknowledging, `speak <n>` lets it go on. Twice a second it
prints a line of JSON: how many proxies hold their secrets, how many leaves they had, how many of those with the key of
another, and every time that one of them held a leaf that another one's bundle does not verify.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.identity_store import IdentityStore
from agent.join import ControlPlane, channel
from agent.renew import CertificateKeeper, Membership, TokenSource
from agent.trust import TrustWatch
from ca.times import system_clock
from mesh.names import Key
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
JOINING = 16
"""At the same time: the join port lets so many attempts of one address in."""


class Trust:
    """What is shown and what is verified, by the name of the root."""

    def __init__(self) -> None:
        self.leaves: dict[str, str] = {}
        self.bundles: dict[str, frozenset[str]] = {}
        self.violations: set[str] = set()
        self._names: dict[bytes, frozenset[str]] = {}
        self._shown: dict[str, bytes] = {}
        self._keys: set[bytes] = set()
        self.repeated = 0
        self.serials: set[int] = set()

    def names(self, pem: bytes) -> frozenset[str]:
        """The subjects of a bundle's roots. Parsed once for all that have the same."""
        found = self._names.get(pem)
        if found is None:
            found = frozenset(each.subject.rfc4514_string() for each in x509.load_pem_x509_certificates(pem))
            self._names[pem] = found
        return found

    def shows(self, who: str, chain: bytes) -> None:
        if self._shown.get(who) == chain:
            return
        self._shown[who] = chain
        leaf, intermediate = x509.load_pem_x509_certificates(chain)
        if leaf.serial_number not in self.serials:
            self.serials.add(leaf.serial_number)
            key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self.repeated += key in self._keys
            self._keys.add(key)
        self.leaves[who] = intermediate.issuer.rfc4514_string()

    def verifies_by(self, who: str, bundle: bytes) -> None:
        self.bundles[who] = self.names(bundle)

    def check(self) -> None:
        shown, verified = set(self.leaves.values()), set(self.bundles.values())
        for root in shown:
            for bundle in verified:
                if root not in bundle:
                    holders = [who for who, each in self.leaves.items() if each == root]
                    others = [who for who, each in self.bundles.items() if each == bundle]
                    self.violations.add(
                        f"{holders[0]} shows {root}, which {others[0]} does not verify by {sorted(bundle)}"
                    )


class Proxy:
    def __init__(self, number: int, told: dict[str, Any], trust: Trust, joining: asyncio.Semaphore) -> None:
        self.name = f"crowd-{number}"
        self.spoken = asyncio.Event()
        self.spoken.set()
        self.ready = False
        self._trust = trust
        self._joining = joining
        self._membership = Membership(
            workload=Key("default", self.name),
            trust_domain="mesh.local",
            join_address=told["join"],
            renew_address=told["xds"],
            bundle=Path(told["bundle"]),
            tokens=TokenSource(told["token"]),
        )
        log = structlog.get_logger()
        self._keeper = CertificateKeeper(
            self._membership,
            IdentityStore(Path(told["folder"]) / self.name),
            clock=system_clock,
            chance=random.random,
            log=log,
        )
        self._watch = TrustWatch(self._membership, self._keeper, chance=random.random, log=log)

    async def run(self) -> None:
        async with self._joining:
            await self._keeper.obtain()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeper.keep())
            group.create_task(self._watch.run())
            group.create_task(self._envoy())
            group.create_task(self._note_agent())

    async def _note_agent(self) -> None:
        while True:
            held, _ = self._keeper.held
            self._trust.shows(f"{self.name} (agent)", held.chain_pem)
            self._trust.verifies_by(f"{self.name} (agent)", held.roots_pem)
            await asyncio.sleep(0.2)

    async def _envoy(self) -> None:
        """Connected as long as the control plane is there, with the agent's identity, as Envoy's own connection is."""
        while True:
            held, _ = self._keeper.held
            server = ControlPlane(self._membership.renew_address, "mesh.local", held.roots_pem)
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it has ended, or had
                async with channel(server, held) as opened:
                    method: Any = opened.stream_stream(METHOD)
                    await self._follow(method())
            await asyncio.sleep(0.2 + random.random() * 0.3)

    async def _follow(self, call: Any) -> None:
        first = DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=["identity", "roots"])
        first.node.id = f"default/{self.name}"
        await call.write(first.SerializeToString())
        while (data := await call.read()) is not grpc.aio.EOF:
            response = DeltaDiscoveryResponse.FromString(data)
            await self.spoken.wait()
            for resource in response.resources:
                secret = Secret.FromString(resource.resource.value)
                if secret.name == "identity":
                    self._trust.shows(self.name, secret.tls_certificate.certificate_chain.inline_bytes)
                    self.ready = True
                else:
                    self._trust.verifies_by(self.name, secret.validation_context.trusted_ca.inline_bytes)
            reply = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            await call.write(reply.SerializeToString())


async def commands(proxies: list[Proxy]) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        proxy = proxies[int(line[1])]
        (proxy.spoken.clear if line[0] == "silence" else proxy.spoken.set)()


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    told = json.loads(sys.argv[1])
    trust, joining = Trust(), asyncio.Semaphore(JOINING)
    proxies = [Proxy(number, told, trust, joining) for number in range(told["proxies"])]
    async with asyncio.TaskGroup() as group:
        group.create_task(commands(proxies))
        for proxy in proxies:
            group.create_task(proxy.run())
        while True:
            trust.check()
            said = {
                "ready": sum(each.ready for each in proxies),
                "violations": sorted(trust.violations)[:5],
                "leaves": len(trust.serials),
                "repeated": trust.repeated,
                "roots": sorted(set(trust.leaves.values())),
            }
            print(json.dumps(said), flush=True)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main())
