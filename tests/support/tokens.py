"""Issuers of JSON Web Tokens for tests, and the server where their keys are: honest ones, and others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support import forging
from tests.support.forging import public_jwk, public_pem
from tests.support.ports import LOOPBACK

AUDIENCE = "api"
HUGE = 8 * 1024 * 1024


@dataclass(slots=True)
class SigningKey:
    """A key of an issuer, RS256 or ES256. `public` is its JWK."""

    kid: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def rsa(cls, kid: str) -> Self:
        return cls(kid, rsa.generate_private_key(65537, 2048))

    @classmethod
    def ec(cls, kid: str) -> Self:
        return cls(kid, ec.generate_private_key(ec.SECP256R1()))

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "ES256"

    @property
    def public(self) -> dict[str, Any]:
        return {**public_jwk(self.private, self.kid), "alg": self.algorithm}

    @property
    def pem(self) -> bytes:
        """Of the public key: what an attacker knows."""
        return public_pem(self.private)


@dataclass(slots=True)
class Issuer:
    """Signs with the first of its keys; `jwks` has all of them."""

    name: str = "https://login.example"
    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey.rsa("one")])

    @property
    def jwks(self) -> str:
        return json.dumps({"keys": [each.public for each in self.keys]})

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Of a good token, with `changed`; None takes a claim away."""
        now = int(time.time())
        made = {"iss": self.name, "aud": AUDIENCE, "sub": "ann", "iat": now, "nbf": now - 1, "exp": now + 300}
        return {name: value for name, value in {**made, **changed}.items() if value is not None}

    def token(self, key: SigningKey | None = None, kid: str | None = None, **changed: Any) -> str:
        key = key or self.keys[0]
        headers = {"kid": kid or key.kid}
        return jwt.encode(self.claims(**changed), key.private, algorithm=key.algorithm, headers=headers)

    def unsigned(self) -> str:
        """`alg: none` (RFC 8725, section 2.1)."""
        return forging.forged({"alg": "none", "typ": "JWT", "kid": self.keys[0].kid}, self.claims())

    def confused(self) -> str:
        return forging.confused(self.keys[0].kid, self.claims(), self.keys[0].pem)

    def altered(self) -> str:
        """A good token whose claims were changed after it was signed."""
        return forging.altered(self.token(), self.claims(sub="root"))


class JwksServer:
    """An async context manager: serves whatever `mode` says at `/keys`, over TLS if there is a context. `asked` counts."""

    def __init__(self, port: int, issuer: Issuer, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._tls = tls
        self.issuer = issuer
        self.asked = 0
        self.mode = "keys"
        """keys, 500, hang, garbage, html, huge, empty or closed."""
        self._runner: web.AppRunner | None = None

    @property
    def uri(self) -> str:
        return (
            f"http://{LOOPBACK}:{self.port}/keys"
            if self._tls is None
            else f"https://localhost:{self.port}/keys"
        )

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/keys", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port, ssl_context=self._tls).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        match self.mode:
            case "500":
                return web.Response(status=500, text=self.issuer.jwks)
            case "hang":
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
                return web.Response()
            case "garbage":
                return web.Response(body=b'{"keys": [' + bytes(range(256)), content_type="application/json")
            case "html":
                return web.Response(text="<html>please log in</html>", content_type="text/html")
            case "huge":
                return web.Response(
                    body=b'{"keys": [], "padding": "%b"}' % (b"x" * HUGE), content_type="application/json"
                )
            case "empty":
                return web.Response(text='{"keys": []}', content_type="application/json")
            case "closed":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case _:
                return web.Response(text=self.issuer.jwks, content_type="application/json")
