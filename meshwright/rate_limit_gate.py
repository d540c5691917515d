"""Who may have what counted: a workload draws on the limits that RateLimit policies give it, and on those of nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ca.errors import UnusablePeer
from ca.peer import Proved, proved
from mesh.errors import InvalidName
from mesh.names import Key
from mesh.policy import Place
from mesh.state import MeshState
from mesh.workload import Workload
from meshwright.doors import CERTIFICATE
from policies.rate_limit import KIND
from policies.rate_limit_messages import POLICY_KEY
from ratelimit.limits import Descriptor

PLAINTEXT: Final = "plaintext "
"""Before the domain of what was asked in plaintext, which is counted apart: nobody there has proved who it is. No trust domain has a space."""
NOT_COUNTED: Final = Descriptor(())
REMEMBERED: Final = 4096
"""Certificates whose holders are remembered: to read one takes as long as to answer."""


class RateLimitGate:
    """A `ratelimit.service.Gate`. What may not be counted is answered as what has no limit: a sidecar asks for a policy a moment
    longer than that concerns it, and must not lose a request by that.
    """

    def __init__(self, state: Callable[[], MeshState]) -> None:
        self._state = state
        self._holders: dict[bytes, Proved | None] = {}

    def __call__(
        self, auth: Mapping[str, Iterable[bytes]], domain: str, descriptors: Sequence[Descriptor]
    ) -> tuple[str, tuple[Descriptor, ...]]:
        # A policy says one hit a request.
        once = tuple(replace(each, hits=min(each.hits, 1)) for each in descriptors)
        pem = next(iter(auth.get(CERTIFICATE, ())), None)
        if pem is None:
            return PLAINTEXT + domain, once
        state, holder = self._state(), self._holder(pem)
        if domain in state.aliases:
            domain = state.trust_domain  # counted as one, whichever name a sidecar has heard of
        workload = state.workloads.get(holder.workload) if holder is not None else None
        if holder is None or workload is None or not _is(workload, holder, state):
            return domain, (NOT_COUNTED,) * len(once)
        return domain, tuple(each if _may(state, workload, each) else NOT_COUNTED for each in once)

    def _holder(self, pem: bytes) -> Proved | None:
        """None: a certificate of ours that is no workload's, such as the control plane's own."""
        if pem not in self._holders:
            if len(self._holders) >= REMEMBERED:
                self._holders.clear()
            try:
                self._holders[pem] = proved(pem)
            except UnusablePeer:
                self._holders[pem] = None
        return self._holders[pem]


def _is(workload: Workload, holder: Proved, state: MeshState) -> bool:
    return workload.identity(state.trust_domain) == state.trust_domains.own_name(holder.identity)


def _may(state: MeshState, workload: Workload, descriptor: Descriptor) -> bool:
    """Whether all policies that are named concern the workload. What names none, as an EnvoyPatch may have it, is no policy's counter."""
    return all(_concerned(state, workload, value) for key, value in descriptor.entries if key == POLICY_KEY)


def _concerned(state: MeshState, workload: Workload, policy: str) -> bool:
    try:
        found = state.policies.policies.get((KIND.name, Key.parse(policy)))
    except InvalidName:
        return False
    if found is None:
        return False
    places = (
        Place(workload.key.namespace, workload=workload.key),
        *(Place(service.namespace, service, workload.key) for service in workload.services),
    )
    return any(target in found.targets for place in places for target in place.targets())
