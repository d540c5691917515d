"""Calls of the last hour that access policies let in, and would refuse. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mesh.names import Key
from mesh.service import ServicePort
from mesh.state import MeshState
from meshwright.calls_seen import Lately, SeenCall
from meshwright.plan.caveats import Caveat, Sort
from policies.access_rules import Plan
from policies.access_verdict import Caller, Request, Verdict, at, decided

KIND = "AccessPolicy"
SHOWN = 5
"""Calls that a warning names."""
HELD = 2_000
"""Calls that are held against the policies, the latest: one takes some 50 µs."""


def locked_out(old: MeshState, new: MeshState, lately: Lately) -> Iterator[Caveat]:
    """A caveat for each port and policy; and how much is known, where access policies differ at all."""
    if _policies(old) == _policies(new):
        return
    was, will = _Judge(old), _Judge(new)
    refused: dict[tuple[Key, int, str, str], list[SeenCall]] = {}
    for call in lately.calls[-HELD:]:
        before, after = was.verdict(call), will.verdict(call)
        if before is not None and after is not None and before.allowed and not after.allowed:
            blamed = ", ".join(map(str, after.documents))
            refused.setdefault((call.service, call.port, blamed, after.by), []).append(call)
    for (service, port, blamed, _), calls in sorted(refused.items()):
        text = f"calls of the last hour to service {service}, port {port}, are refused: {_named(calls)}"
        yield Caveat(Sort.LOCKED_OUT, f"{KIND} {blamed}", text)
    yield Caveat(
        Sort.INCOMPLETE,
        "",
        f"whom access policies lock out is told from the calls of the last hour that are known: {len(lately.calls)}, of {lately.proxies} "
        "proxies, by caller, method, path and host. Proxies tell of them while a rollout watches them, and of callers without mesh TLS",
    )


def _policies(state: MeshState) -> dict[object, object]:
    return {name: each for name, each in state.policies.policies.items() if name[0] == KIND}


@dataclass(slots=True)
class _Judge:
    """What one state makes of calls. What is decided at a place is worked out once."""

    state: MeshState
    _plans: dict[tuple[Key, int, Key], Plan] = field(default_factory=dict)

    def verdict(self, call: SeenCall) -> Verdict | None:
        """None where there is no such port."""
        port = self._port(call)
        if port is None:
            return None
        where = call.service, call.port, call.workload
        if where not in self._plans:
            self._plans[where] = at(self.state, call.service, port, call.workload)
        request = (
            Request(call.method, call.path, call.host) if call.method and port.protocol.is_http else None
        )
        return decided(
            self._plans[where], Caller(call.identity or None, call.address or "127.0.0.1"), request
        )

    def _port(self, call: SeenCall) -> ServicePort | None:
        service = self.state.services.get(call.service)
        return next((each for each in service.ports if each.port == call.port), None) if service else None


def _named(calls: Iterable[SeenCall]) -> str:
    told = dict.fromkeys(
        " ".join(filter(None, (call.identity or f"{call.address} in plaintext", call.method, call.path)))
        for call in calls
    )
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return f"{', '.join(list(told)[:SHOWN])}{more}"
