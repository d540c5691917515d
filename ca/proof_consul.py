"""A Consul ACL token as a proof: its service identities say which services its bearer may be.

https://developer.hashicorp.com/consul/api-docs/acl/tokens#read-self-token. The workload has to be registered with such a service.
Whoever may write a registration writes its meta too: so the token vouches only for a service account of the service's own name,
and only in the namespaces that the operator lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ca.errors import NotProved, ProofUnavailable, ProvedAnother
from ca.proof import MAXIMUM_SHOWN, Claim
from ca.web import NoAnswer, ask
from mesh.names import Key

SELF: Final = "/v1/acl/token/self"
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Registered:
    """A workload as Consul's registration has it: the names of its services, and its service account."""

    services: frozenset[str]
    service_account: str


class ConsulProof:
    def __init__(
        self,
        url: str,
        namespaces: Collection[str],
        registered: Callable[[Key], Registered | None],
        *,
        ca_file: Path | None = None,
    ) -> None:
        """`url` is that of Consul's HTTP API; `registered` is asked for each workload: None if Consul has none of that name."""
        self._namespaces = frozenset(namespaces)
        self._url = url.rstrip("/")
        self._registered = registered
        self._ca_file = ca_file

    async def redeem(self, shown: str, workload: Key, key_id: str) -> Claim:
        return await self.verify(shown, workload, key_id)

    async def verify(self, shown: str, workload: Key, key_id: str) -> Claim:
        del key_id
        if len(shown) > MAXIMUM_SHOWN or not _TOKEN.fullmatch(shown):
            raise NotProved("what was shown is not a Consul ACL token")
        if workload.namespace not in self._namespaces:
            raise ProvedAnother(
                f"a Consul token proves nothing in the namespace {workload.namespace!r}: see setting consul.join_namespaces"
            )
        accessor, names = _identities(await self._token(shown))
        by = f"Consul token {accessor}"
        if not names:
            raise ProvedAnother(f"the {by} has no service identity: give it that of the workload's service")
        registered = self._registered(workload)
        if registered is None:
            raise ProofUnavailable(f"Consul has no instance {workload} yet: register it, then join")
        if not names & registered.services:
            raise ProvedAnother(
                f"the {by} is for {', '.join(sorted(names)[:5])}, and {workload} is registered with "
                f"{', '.join(sorted(registered.services)) or 'no service'}"
            )
        if registered.service_account not in names & registered.services:
            raise ProvedAnother(
                f"{workload} is registered with the service account {registered.service_account!r}, and the {by} vouches "
                "only for one that is called as its service: join by another proof, or leave service-account out"
            )
        return Claim(workload, registered.service_account, by)

    async def _token(self, shown: str) -> Mapping[str, Any]:
        try:
            answer = await ask(self._url + SELF, headers={"x-consul-token": shown}, ca_file=self._ca_file)
            if answer.status == 200:
                return answer.document()
        except NoAnswer as error:
            raise ProofUnavailable(f"Consul: {error}") from None
        if answer.status == 403:
            raise NotProved("the Consul ACL token is unknown to Consul, or has expired")
        raise ProofUnavailable(f"Consul answered {answer.status} when asked about a token: are its ACLs on?")


def _identities(token: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """The accessor, which is no secret, and the services that the token is for."""
    listed = token.get("ServiceIdentities") or []
    names = frozenset(
        str(each["ServiceName"])
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict) and each.get("ServiceName")
    )
    return str(token.get("AccessorID", "without accessor"))[:64], names
