"""Vault's PKI engine for tests: the real server, and a stand-in of its HTTP API that runs where there is no Go to build the real one.

`STAND-IN` in a test's id means the second. Both are set up and asked in the same way, by the same calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from ca.keys import PrivateKey, new_key
from ca.times import system_clock
from tests.support.binaries import ROOT
from tests.support.processes import eventually, start

ROLE = "mesh"


@dataclass
class Vault:
    """`url` without a slash at its end; `token` may do everything."""

    url: str
    token: str

    async def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """An operator's call. RuntimeError unless Vault agrees."""
        headers = {"x-vault-token": token or self.token}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{self.url}/v1/{path}", json=body) as answer,
        ):
            text = await answer.text()
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status} {text}")
            return (await answer.json()).get("data") if text else None

    async def set_up(self, trust_domain: str, **changed: Any) -> None:
        """A root, and the role that docs/security.md asks for; `changed` is how somebody got it wrong."""
        with contextlib.suppress(RuntimeError):  # there already
            await self.call("POST", "sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "8760h"}})
            await self.call(
                "POST", "pki/root/generate/internal", {"common_name": "Mesh root", "ttl": "8760h"}
            )
        role = {
            "allowed_uri_sans": f"spiffe://{trust_domain}/*",
            "allowed_user_ids": "*",
            "require_cn": False,
            "allow_any_name": True,
            "enforce_hostnames": False,
            "allow_ip_sans": True,
            "key_type": "any",
            "use_csr_common_name": False,
            "use_csr_sans": False,
            "no_store": False,
            "server_flag": True,
            "client_flag": True,
            "max_ttl": "24h",
            **changed,
        }
        await self.call("POST", f"pki/roles/{ROLE}", role)


def binary() -> str:
    """The real server's. RuntimeError, with what to do, if it can't be built."""
    ran = subprocess.run(
        [ROOT / "scripts" / "install" / "vault.sh"], stdout=subprocess.PIPE, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError("scripts/install/vault.sh failed: see above")
    return ran.stdout.strip()


@contextlib.asynccontextmanager
async def real_vault(folder: Path) -> AsyncIterator[Vault]:
    process = await start("vault", folder, await asyncio.to_thread(binary))
    try:

        async def told() -> list[str]:
            return process.text().split()[:2]

        url, token = await eventually(told, "Vault is unsealed", process)
        yield Vault(url, token)
    finally:
        await process.stop()


@contextlib.asynccontextmanager
async def stand_in(folder: Path) -> AsyncIterator[Vault]:
    del folder
    engine = _Engine()
    app = web.Application(middlewares=[engine.authorise])
    app.router.add_post("/v1/sys/mounts/{mount}", engine.mount)
    app.router.add_post("/v1/pki/root/generate/internal", engine.generate)
    app.router.add_post("/v1/pki/roles/{role}", engine.role)
    app.router.add_post("/v1/pki/sign/{role}", engine.sign)
    app.router.add_get("/v1/pki/cert/ca_chain", engine.chain)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Vault(f"http://127.0.0.1:{runner.addresses[0][1]}", engine.token)
    finally:
        await runner.cleanup()


def _errors(status: int, *errors: str) -> web.Response:
    return web.json_response({"errors": list(errors)}, status=status)


@dataclass
class _Engine:
    """What of the PKI engine `ca.vault` uses, as its documentation says and as the real one of 1.14 was seen to answer."""

    token: str = "hvs.stand-in"
    key: PrivateKey = field(default_factory=new_key)
    root: x509.Certificate | None = None
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)

    @web.middleware
    async def authorise(self, request: web.Request, handler: Any) -> web.StreamResponse:
        public = request.path.endswith("/ca_chain")
        if not public and request.headers.get("x-vault-token") != self.token:
            return _errors(403, "permission denied")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def mount(self, request: web.Request) -> web.StreamResponse:
        del request
        return _errors(400, "path is already in use at pki/") if self.root else web.Response(status=204)

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, body["common_name"])])
        self.root = self._signed(
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key()),
            timedelta(days=365),
            ca=True,
        )
        return web.json_response({"data": {"certificate": _pem(self.root)}})

    async def role(self, request: web.Request) -> web.StreamResponse:
        self.roles[request.match_info["role"]] = await request.json()
        return web.Response(status=204)

    async def chain(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response({"data": {"certificate": _pem(self.root) if self.root else ""}})

    async def sign(self, request: web.Request) -> web.StreamResponse:
        role = self.roles.get(request.match_info["role"])
        if role is None or self.root is None:
            return _errors(400, f"unknown role: {request.match_info['role']}")
        body = await request.json()
        uris = [each for each in body.get("uri_sans", "").split(",") if each]
        for uri in uris:
            if not any(fnmatchcase(uri, each) for each in role["allowed_uri_sans"].split(",")):
                return _errors(
                    400, "URI Subject Alternative Names (SANs) was provided, but URI SANs are not allowed"
                )
        users = [each for each in body.get("user_ids", "").split(",") if each]
        allowed = role["allowed_user_ids"].split(",")
        for user in users:
            if not any(fnmatchcase(user, each) for each in allowed):
                return _errors(400, f"user_id {user} is not allowed by this role")
        csr = x509.load_pem_x509_csr(body["csr"].encode())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(each) for each in uris]
        names += [x509.DNSName(each) for each in body.get("alt_names", "").split(",") if each]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.USER_ID, each) for each in users]))
            .issuer_name(self.root.subject)
            .public_key(csr.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=not users)
        )
        lifetime = timedelta(seconds=int(body["ttl"].removesuffix("s")))
        leaf = self._signed(builder, lifetime, ca=False)
        data = {"certificate": _pem(leaf), "issuing_ca": _pem(self.root), "ca_chain": [_pem(self.root)]}
        return web.json_response({"data": data})

    def _signed(self, builder: x509.CertificateBuilder, lifetime: timedelta, *, ca: bool) -> x509.Certificate:
        now = system_clock()
        return (
            builder.serial_number(x509.random_serial_number() >> 2 | 1 << 152)
            .not_valid_before(now - timedelta(seconds=30))
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
