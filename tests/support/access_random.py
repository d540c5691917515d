"""Random access policies, callers and requests, out of few values that meet each other often."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from mesh.names import Key
from policies.access_fields import AccessFields
from policies.access_rules import Plan, plan, stated
from policies.access_verdict import Caller, Request
from policies.kind import Side, Where

TRUST_DOMAIN = "mesh.test"
SERVICE = Key("default", "api")
WHERE = Where(
    Side.CALLEE,
    TRUST_DOMAIN,
    SERVICE,
    port=80,
    port_name="http",
    known=(
        (Key("default", "web"), (f"spiffe://{TRUST_DOMAIN}/ns/default/sa/web",)),
        (
            Key("shop", "cart"),
            (f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/cart", f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/old"),
        ),
    ),
)
IDENTITIES = (
    f"spiffe://{TRUST_DOMAIN}/ns/default/sa/web",
    f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/cart",
    f"spiffe://{TRUST_DOMAIN}/ns/shopping/sa/cart",
    "spiffe://other.test/ns/default/sa/web",
)
PATHS = (
    "/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/A", "/a//b", "//a", "/a/../b", "/a/%2e%2e/b", "/%61", "/a%2fb", "/a\\b", "/a%5Cb", "/a/..;/b",
    "/a;x/b", "/a?b=/c", "/a/b?x", "/a/.", "/a/b.css", "/b", "/b/x/c", "/b/x/y/c", "/pkg.Svc/Get", "/pkg.Svc/Put", "/~u", "/%7eu", "/x%20y", "/..", "/a/./b",
    "/a/%2E", "/a^b", "/%2561", "/b//c", "/a/b/", "/pkg.Svc//Get",
)  # fmt: skip
PATTERNS = (
    "/",
    "/*",
    "/a",
    "/a/*",
    "/a/b",
    "/b/{*}/c",
    "/b/{**}",
    "*.css",
    "*/b",
    "/pkg.Svc/*",
    "/~u",
    "/b/*",
    "/x%20y",
)
METHODS = ("GET", "POST", "PUT", "PURGE")
HOSTS = (
    "api",
    "api:80",
    "API.mesh",
    "api.mesh",
    "api.mesh.",
    "x.example.com",
    "example.com:8080",
    "api.mesh:x",
)
HOST_PATTERNS = ("api", "api.mesh", "*.example.com", "api:80", "api*", "example.com:8080", "*.mesh")
HEADERS = ("x-a", "x-b")
VALUES = (
    "gold",
    "lead",
    "gold,lead",
    "gold, lead ,tin",
    "golden",
    "",
    "g",
    "old-gold",
    " lead",
    "\xffgold",
    "x,\xff, lead",
)
VALUE_PATTERNS = ("gold", "lead", "gol*", "*lead", "*", "gold*")
CLAIMS: dict[str, dict[str, Any]] = {
    "ann": {
        "sub": "ann",
        "groups": ["staff", "ops"],
        "realm": {"roles": ["admin"]},
        "scope": "read write",
        "level": 7,
    },
    "bob": {
        "sub": "bob",
        "groups": "staff",
        "realm": {"roles": []},
        "scope": "readers",
        "admin": True,
        "level": 7.5,
    },
    "eve": {"sub": "eve", "groups": [True, 7, "guests"], "realm": "roles", "level": "7", "admin": [False]},
}
CLAIM_NAMES = ("sub", "groups", "realm.roles", "scope", "level", "admin", "realm", "none")
CLAIM_VALUES = ("ann", "staff", "admin", "read", "re*", "*s", "*", True, False, 7, 7.5, "7")
BLOCKS = ("127.0.0.0/8", "10.0.0.0/8", "127.0.0.1", "::1", "0.0.0.0/0")


T = TypeVar("T")


class Draw:
    """The same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one(self, values: Sequence[T]) -> T:
        return self._random.choice(values)

    def some(self, values: Sequence[T], most: int = 3) -> list[T]:
        return self._random.sample(values, self._random.randint(1, min(most, len(values))))

    def often(self, share: float) -> bool:
        return self._random.random() < share

    def times(self, most: int) -> range:
        return range(self._random.randint(1, most))

    # Policies

    def policies(self) -> list[dict[str, Any]]:
        """What each says, as in its spec."""
        return [self.policy() for _ in self.times(4)]

    def policy(self) -> dict[str, Any]:
        if self.often(0.1):
            return {"default": "deny"}
        said: dict[str, Any] = {
            "action": self.one(("allow", "allow", "deny", "audit")),
            "rules": [self._rule() for _ in self.times(3)],
        }
        if said["action"] != "audit" and self.often(0.2):
            said["dryRun"] = True
        return said

    def _rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {}
        if self.often(0.5):
            rule["from"] = [self._caller() for _ in self.times(2)]
        if self.often(0.7):
            rule["to"] = [self._request() for _ in self.times(2)]
        if self.often(0.4):
            rule["when"] = [self._when() for _ in self.times(2)]
        return rule

    def _caller(self) -> dict[str, Any]:
        choices: dict[str, Callable[[], Any]] = {
            "notIdentities": lambda: [self._identity()],
            "notNamespaces": lambda: self.some(("default", "shop")),
            "notServices": lambda: self.some(("web", "shop/cart", "ghost")),
            "notServiceAccounts": lambda: self.some(("web", "shop/cart")),
            "notTrustDomains": lambda: self.some((TRUST_DOMAIN, "other.test")),
            "ipBlocks": lambda: self.some(BLOCKS),
            "notIpBlocks": lambda: self.some(BLOCKS),
            "anyMeshIdentity": lambda: self.often(0.7),
        }
        caller = {name: choices[name]() for name in self.some(tuple(choices), 2)}
        match self.one(("", "identity", "namespace", "service", "account", "trust domain")):
            case "identity":
                caller["identity"] = self._identity()
            case "namespace":
                caller["namespace"] = self.one(("default", "shop"))
            case "service":
                caller |= self.one(
                    ({"service": "web"}, {"service": "cart", "namespace": "shop"}, {"service": "ghost"})
                )
            case "account":
                caller |= self.one(
                    ({"serviceAccount": "web"}, {"serviceAccount": "cart", "namespace": "shop"})
                )
            case "trust domain":
                caller["trustDomain"] = self.one((TRUST_DOMAIN, "other.test"))
            case _:
                pass
        return caller

    def _identity(self) -> str:
        identity = self.one(IDENTITIES)
        return identity if self.often(0.5) else f"{identity[: len(identity) - 5]}*"

    def _request(self) -> dict[str, Any]:
        choices: dict[str, Callable[[], Any]] = {
            "ports": lambda: self.some((80, "http", 81)),
            "notPorts": lambda: self.some((80, 81, "https")),
            "methods": lambda: self.some(METHODS),
            "notMethods": lambda: self.some(METHODS),
            "paths": lambda: self.some(PATTERNS),
            "notPaths": lambda: self.some(PATTERNS),
            "hosts": lambda: self.some(HOST_PATTERNS),
            "notHosts": lambda: self.some(HOST_PATTERNS),
        }
        if self.often(0.1):
            return {"grpc": [self.one(({"service": "pkg.Svc"}, {"service": "pkg.Svc", "method": "Get"}))]}
        return {name: choices[name]() for name in self.some(tuple(choices), 3)}

    def _when(self) -> dict[str, Any]:
        header = self.often(0.5)
        said: dict[str, Any] = {"header": self.one(HEADERS)} if header else {"claim": self.one(CLAIM_NAMES)}
        patterns: Sequence[object] = VALUE_PATTERNS if header else CLAIM_VALUES
        if self.often(0.7):
            said["values"] = self.some(patterns)
        if self.often(0.4):
            said["notValues"] = self.some(patterns)
        return said

    # Requests

    def request(self) -> Request:
        headers = [(self.one(HEADERS), self.one(VALUES)) for _ in range(self.one((0, 1, 1, 2, 3)))]
        if self.often(0.2):
            headers.append(("content-type", "application/grpc"))
        return Request(
            self.one(METHODS),
            self.one(PATHS),
            self.one(HOSTS),
            tuple(headers),
            CLAIMS[name] if (name := self.one(("", *CLAIMS))) else None,
        )

    def caller(self) -> Caller:
        return Caller(self.one((None, *IDENTITIES)), "127.0.0.1")


def planned(policies: Sequence[dict[str, Any]], order: Sequence[int] | None = None) -> Plan:
    """What `policies`, called `default/p0` and so on, come to; in whatever order they are taken."""
    return plan(
        stated(AccessFields.model_validate(policies[place]), replace(WHERE, policy=f"default/p{place}"))
        for place in (order or range(len(policies)))
    )
