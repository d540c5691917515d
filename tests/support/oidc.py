"""An issuer of JSON Web Tokens with OpenID discovery, on loopback; it signs well, or as a thief would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support.forging import public_jwk

KUBERNETES = "system:serviceaccount:{namespace}:{serviceAccount}"


@dataclass
class Oidc:
    """`url` is the issuer. `fault`: how it answers for its keys instead, see `_keys`."""

    url: str = ""
    audience: str = "meshwright"
    rsa: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    ec: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    published: list[dict[str, Any]] = field(default_factory=list)
    fault: str = ""
    asked: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self) -> None:
        self.published = [public_jwk(self.rsa, "rsa-1"), public_jwk(self.ec, "ec-1")]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Those of a Kubernetes projected token for the pod `api-1` of the service account `api`; None removes one."""
        now = datetime.now(UTC)
        made: dict[str, Any] = {
            "iss": self.url,
            "aud": [self.audience],
            "sub": "system:serviceaccount:default:api",
            "iat": now,
            "nbf": now - timedelta(seconds=5),
            "exp": now + timedelta(minutes=10),
            "kubernetes.io": {"namespace": "default", "pod": {"name": "api-1"}},
        }
        made |= changed
        return {name: value for name, value in made.items() if value is not None}

    def token(
        self, *, key: Any = None, algorithm: str = "RS256", kid: str | None = "rsa-1", **claims: Any
    ) -> str:
        """Signed by `key`, by default the issuer's own."""
        headers = {} if kid is None else {"kid": kid}
        return jwt.encode(self.claims(**claims), key or self.rsa, algorithm=algorithm, headers=headers)

    async def keys(self, request: web.Request) -> web.StreamResponse:
        del request
        self.asked += 1
        if self.fault == "hang":
            await self._stopping.wait()
        answers = {
            "error": web.Response(status=500, text="no"),
            "garbage": web.Response(text="<html>keys</html>"),
            "huge": web.Response(text=json.dumps({"keys": [], "pad": "x" * 1_000_000})),
            "redirect": web.Response(status=302, headers={"location": f"{self.url}/elsewhere"}),
            "empty": web.json_response({"keys": []}),
        }
        return answers.get(self.fault) or web.json_response({"keys": self.published})

    async def elsewhere(self, request: web.Request) -> web.StreamResponse:
        """The same keys, where only a redirect leads."""
        del request
        return web.json_response({"keys": self.published})

    async def configuration(self, request: web.Request) -> web.StreamResponse:
        del request
        issuer = "https://somebody.else" if self.fault == "another issuer" else self.url
        return web.json_response({"issuer": issuer, "jwks_uri": f"{self.url}/keys"})

    def stop(self) -> None:
        self._stopping.set()


@asynccontextmanager
async def oidc() -> AsyncIterator[Oidc]:
    issuer = Oidc()
    issuer.publish()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer.configuration)
    app.router.add_get("/keys", issuer.keys)
    app.router.add_get("/elsewhere", issuer.elsewhere)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield issuer
    finally:
        issuer.stop()
        await runner.cleanup()
