"""Everybody whom a request may meet: what each proxy has, and who it is."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from envoy.render import Renderer
from explain.blame import Blame
from explain.provenance import Provenance
from explain.rendering import Rendering, Workshop
from explain.resources import Resources
from mesh.gateway_secrets import Loaded
from mesh.names import Key
from mesh.secrets import SecretFiles
from mesh.state import MeshState
from mesh.targeting import Caller
from mesh.workload import Workload
from policies.weave import Weaver


@dataclass(slots=True)
class World:
    """Renders what is asked for, once. `state`: what the caller is told. `given`: proxies whose resources are known otherwise, from a dump.
    `told`: what the proxy of a workload is told, where not all are told the same.
    """

    state: MeshState
    shop: Workshop
    provenance: Provenance
    given: dict[Key, Resources] = field(default_factory=dict)
    told: Callable[[Key], MeshState] | None = None
    _rendered: dict[Key, Rendering] = field(default_factory=dict)
    _shops: dict[int, Workshop] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        state: MeshState,
        *,
        loaded: Loaded | None = None,
        on_demand: bool = False,
        told: Callable[[Key], MeshState] | None = None,
    ) -> World:
        """`loaded`: the Secret documents whose files gateways can read; None: all that there are."""
        shop = Workshop(state, Renderer(), Weaver(), loaded or every_secret(state), on_demand)
        return cls(state, shop, Provenance(state), told=told)

    @property
    def met(self) -> tuple[Key, ...]:
        """The proxies whose resources were asked for so far."""
        return tuple({**self._rendered, **self.given})

    def resources(self, workload: Workload) -> Resources:
        return self.given.get(workload.key) or self.rendering(workload)

    def rendering(self, workload: Workload) -> Rendering:
        """What the model has for a proxy, whatever a dump says."""
        if workload.key not in self._rendered:
            shop = self._shop_of(workload.key)
            there = shop.state.workloads.get(workload.key, workload)
            self._rendered[workload.key] = Rendering(shop, there)
        return self._rendered[workload.key]

    def _shop_of(self, proxy: Key) -> Workshop:
        state = self.state if self.told is None else self.told(proxy)
        if state is self.state:
            return self.shop
        # The workshop keeps its state, so that no other one comes to have the same identity.
        return self._shops.setdefault(id(state), replace(self.shop, state=state, weaver=Weaver()))

    def blame(self, caller: Workload | None) -> Blame:
        """`caller`: whose calls policies are asked about."""
        facets = (
            frozenset()
            if caller is None
            else self.state.policies.facets(Caller(caller.key, caller.service_account, caller.services))
        )
        return Blame(self.state, self.provenance, facets)

    def identity(self, workload: Workload) -> str:
        return workload.identity(self.state.trust_domain).uri

    def identities(self, workload: Workload) -> tuple[str, ...]:
        """By all names that its trust domain has."""
        own = workload.identity(self.state.trust_domain)
        return (own.uri, *(replace(own, trust_domain=each).uri for each in self.state.aliases))

    def problems(self) -> tuple[str, ...]:
        """What is not sent, or left out, of all that was looked at."""
        of_proxies = (why for each in self._rendered.values() for why in each.problems)
        of_policies = (f"{subject}: {why}" for subject, why in self.shop.weaver.problems.items())
        return tuple(dict.fromkeys((*of_proxies, *of_policies)))


def every_secret(state: MeshState) -> Loaded:
    """As if each file that a Secret document names could be read."""
    known = [each for each in state.declared.values() if isinstance(each, SecretFiles)]
    return Loaded(
        frozenset(each.key for each in known if each.certificate),
        frozenset(each.key for each in known if each.authorities),
    )


def seen_from(caller: Workload) -> str:
    """The address that connections of `caller` come from: of several programs on one host, all come from its first."""
    try:
        loopback = ipaddress.ip_address(caller.address).is_loopback
    except ValueError:
        return caller.address
    return "127.0.0.1" if loopback else caller.address
