"""Makes what Gateways need in the cluster, and keeps it as it is to be: one replica does, while it holds the lease.

Server-side apply: what others say of the same objects (replicas, by an autoscaler) is theirs. A write happens where what is wished for, or
what stands there, is another than at the last write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from kube.client import Cluster, Selector
from kube.errors import ApiError, Busy, Invalid, Unauthorized, Unreachable
from kube.following import Event, Failed
from kube.reflector import Reflector
from kube.resource import CONFIG_MAPS, DEPLOYMENTS, SERVICES, ObjectName, Resource
from mesh.conditions import PARAMETERS, gateways
from mesh.gateways import Gateway
from mesh.listener_sets import whole
from mesh.names import Key
from mesh.state import MeshState
from meshwright.kubernetes.gateway_manifests import (
    GatewayOptions,
    Infrastructure,
    manifests,
    object_name,
)
from meshwright.kubernetes.gateway_objects import LABELS, Kept, kept
from meshwright.kubernetes.gateway_parameters import BadParameters, with_parameters
from meshwright.kubernetes.gateway_statuses import Made
from meshwright.kubernetes.gateway_writes import FOLLOWED, PAUSE, GatewayWrites, Wished, wished
from store.kubernetes_held import Held
from store.kubernetes_kinds import GATEWAY_CLASS
from store.kubernetes_objects import ClusterObject

EVERY: Final = 0.1
"""Seconds between two looks at whether anything has changed; a look compares a few references."""
AGAIN: Final = 15.0
"""Seconds after which what failed is tried again, and parameters are read again."""
PASSING: Final = (Unreachable, Busy, Unauthorized)
"""What says nothing of a Gateway: the API server is away. What was found before holds until it answers."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reconciliation goes by: none of it changed, nothing to do. `said`: what Gateways and their classes say, by `_said`."""

    declared: object
    said: frozenset[tuple[Key, str, int]]
    owned: int


@dataclass(frozen=True, slots=True)
class _Parameters:
    """The data of a ConfigMap as it was read at `at`; a text: why it could not be read."""

    at: float
    data: Mapping[str, str] | str


class Gateways:
    """`state` and `held` say what there is, `options` what is made where parameters say nothing; `cluster_ip`: a Service's own address counts while
    no load balancer gives one. `changed` is called when `made` is another. `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        cluster: Cluster,
        state: Callable[[], MeshState],
        held: Callable[[], Held],
        options: GatewayOptions,
        *,
        cluster_ip: bool,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._state = state
        self._held = held
        self._options = options
        self._cluster_ip = cluster_ip
        self._clock = clock
        self._random = random
        self._owned: dict[Resource, dict[ObjectName, Kept]] = {each: {} for each in FOLLOWED}
        self._writes = GatewayWrites(cluster, clock)
        self._read: set[Resource] = set()
        self._moves = 0
        self._problems: dict[Key, str] = {}
        self._types: dict[Key, str] = {}
        self._of_classes: dict[str, GatewayOptions | str] = {}
        self._parameters: dict[Key, _Parameters] = {}
        self._wished: dict[Key, tuple[object, tuple[Wished, ...]]] = {}
        self._looked = False
        self.classes: dict[str, str] = {}
        """What is wrong with the parameters of a GatewayClass of ours, by its name."""

    def made(self, gateway: Gateway) -> Made:
        """How far what is made for `gateway` is."""
        name = ObjectName(gateway.key.namespace, object_name(gateway.key.name))
        service, pods = self._owned[SERVICES].get(name), self._owned[DEPLOYMENTS].get(name)
        problem = self._problems.get(gateway.key, "")
        addresses: tuple[str, ...] = ()
        if service is not None:
            own = self._cluster_ip or self._types.get(gateway.key) != "LoadBalancer"
            addresses = service.given or ((service.cluster_ip,) if own and service.cluster_ip else ())
            missing = [each for each in gateway.addresses if each not in addresses]
            if missing and addresses and not problem:
                problem = f"AddressNotUsable: its Service was not given {', '.join(missing)}"
        return Made(
            addresses=() if problem.startswith("AddressNotUsable") else addresses,
            problem=problem,
            ready=pods is not None and pods.available > 0,
        )

    @property
    def moves(self) -> int:
        """Another number when `made` may be another."""
        return self._moves

    @property
    def known(self) -> bool:
        """Whether all that stands there was seen, and looked through once: before that, `made` knows nothing."""
        return self._looked

    async def run(self) -> None:
        """Until cancelled."""
        # Another replica may have done it meanwhile: what it left is looked at anew, and written once.
        self._writes.begin()
        self._parameters.clear()
        self._read.clear()
        self._looked = False
        async with asyncio.TaskGroup() as group:
            for resource in self._owned:
                group.create_task(self._follow(resource))
            await self._reconcile()

    async def _follow(self, resource: Resource) -> None:
        def tell(events: Sequence[Event[Kept]]) -> None:
            if all(isinstance(each, Failed) for each in events):
                return
            self._owned[resource] = dict(reflector.values)
            self._read.add(resource)
            self._moves += 1

        reflector = Reflector(
            self._cluster,
            resource,
            kept,
            selector=Selector(labels=LABELS),
            clock=self._clock,
            random=self._random,
        )
        await reflector.run(tell)

    async def _reconcile(self) -> None:
        seen: Seen | None = None
        objects: object = None
        said: frozenset[tuple[Key, str, int]] = frozenset()
        due = self._clock()
        while True:
            if (held := self._held()).objects is not objects:
                objects, said = held.objects, frozenset(_said(held))
            now = Seen(self._state().declared, said, self._moves)
            if self._read >= self._owned.keys() and (now != seen or self._clock() >= due):
                pause = await self._all()
                self._looked, self._moves = True, self._moves + (not self._looked)
                seen, due = now, self._clock() + pause
            await asyncio.sleep(EVERY)

    async def _all(self) -> float:
        """Seconds until all is to be looked at again, though nothing changes: something failed, or has parameters, which nobody watches."""
        state, held = self._state(), self._held()
        again, put_off = False, False
        now = self._clock()
        self._parameters = {key: each for key, each in self._parameters.items() if now - each.at < AGAIN}
        for name in sorted(held.classes):
            try:
                self._of_classes[name] = await self._of_class(held, name)
            except PASSING:
                again = True
        classes = {name: self._of_classes.get(name, self._options) for name in held.classes}
        wrong = {name: each for name, each in classes.items() if isinstance(each, str)}
        if wrong != self.classes:
            self.classes, self._moves = wrong, self._moves + 1
        problems: dict[Key, str] = {}
        ours = set()
        for gateway in gateways(state):
            found = held.objects.get(("Gateway", gateway.key))
            if found is None:
                continue
            ours.add(found.uid)
            options = classes.get(gateway.class_name, self._options)
            if isinstance(options, str):
                problems[gateway.key] = f"InvalidParameters: of its class: {options}"
                continue
            await asyncio.sleep(0)  # There may be thousands: others have their turn.
            try:
                why, settled = await self._one(state, gateway, found, options)
                put_off |= not settled
            except PASSING as error:
                log.warning(
                    "what a gateway needs is looked at later", gateway=str(gateway.key), reason=str(error)
                )
                why, again = self._problems.get(gateway.key, ""), True
            if why:
                problems[gateway.key] = why
        again |= await self._sweep(held, ours, problems)
        for key in problems.keys() | self._problems.keys():
            if problems.get(key) != self._problems.get(key):
                self._moves += 1
                if key in problems:
                    log.warning(
                        "what a gateway needs is not as it should be", gateway=str(key), reason=problems[key]
                    )
        self._problems = problems
        self._wished = {key: each for key, each in self._wished.items() if ("Gateway", key) in state.declared}
        if put_off:
            return PAUSE
        return AGAIN if again or problems or wrong or self._parameters else 8 * AGAIN

    async def _one(
        self, state: MeshState, gateway: Gateway, found: ClusterObject, options: GatewayOptions
    ) -> tuple[str, bool]:
        """Make what `gateway` needs. What is wrong, with a reason of the Gateway API's in front, empty if nothing is; and whether all was
        written that was to be.
        """
        every = whole(state, gateway)
        if gateway.unusable or not every.listeners:
            return (
                "",
                True,
            )  # Its status says so. What was made for it before stays: it may be mended at any time.
        if gateway.parameters is not None:
            if (gateway.parameters.group, gateway.parameters.kind) != ("", PARAMETERS):
                return "", True
            try:
                options = await self._with(options, gateway.parameters.key)
            except PASSING:
                raise
            except BadParameters as error:
                return f"InvalidParameters: {error}", True
        self._types[gateway.key] = options.service_type
        if whose := self._of_another(gateway.key):
            return f"NoResources: {whose}", True
        several = len(gateway.addresses) > 1
        problem, settled = "", True
        for each in self._wishes(every, found, options):
            if each.resource is SERVICES and several:
                problem = (
                    f"AddressNotUsable: a Service has one address, and {len(gateway.addresses)} are asked for"
                )
                continue
            try:
                settled &= await self._writes.apply(each, self._owned.get(each.resource, {}).get(each.name))
            except PASSING:
                raise
            except Invalid as error:
                asked = each.resource is SERVICES and bool(gateway.addresses)
                problem = problem or f"{'AddressNotUsable' if asked else 'NoResources'}: {error}"
            except ApiError as error:
                problem = problem or f"NoResources: {error}"
        return problem, settled

    def _of_another(self, gateway: Key) -> str:
        """Whose it is that stands there under the name of what would be made for `gateway`; empty if it is this one's, or nobody's."""
        name = ObjectName(gateway.namespace, object_name(gateway.name))
        for resource, known in self._owned.items():
            there = known.get(name)
            if there is not None and there.gateway != gateway:
                return f"{resource.kind} {name} belongs to Gateway {there.gateway}: give one of the two another name"
        return ""

    def _wishes(self, every: Gateway, found: ClusterObject, options: GatewayOptions) -> tuple[Wished, ...]:
        """What is wished for, made anew where what it is made of is another."""
        given = infrastructure(found)
        of = every, given, options
        known = self._wished.get(every.key)
        if known is None or known[0] != of:
            known = of, tuple(map(wished, manifests(every, given, options)))
            self._wished[every.key] = known
        return known[1]

    async def _of_class(self, held: Held, name: str) -> GatewayOptions | str:
        """The options of a class of ours; what is wrong with its parameters, if something is."""
        found = held.objects.get(("GatewayClass", Key("", name)))
        spec = found.tree.get("spec") if found is not None else None
        reference = spec.get("parametersRef") if isinstance(spec, dict) else None
        if not isinstance(reference, dict):
            return self._options
        group, kind = reference.get("group"), reference.get("kind")
        namespace, named = reference.get("namespace"), reference.get("name")
        if (
            (group or "", kind) != ("", PARAMETERS)
            or not isinstance(namespace, str)
            or not isinstance(named, str)
        ):
            return f"parametersRef: {kind}.{group} {named} is no {PARAMETERS} with its namespace"
        try:
            return await self._with(self._options, Key(namespace, named))
        except PASSING:
            raise
        except BadParameters as error:
            return f"parametersRef: {error}"

    async def _with(self, options: GatewayOptions, parameters: Key) -> GatewayOptions:
        """BadParameters, also where they cannot be read; PASSING. They are read once in AGAIN, whoever names them."""
        read = self._parameters.get(parameters)
        if read is None:
            data: Mapping[str, str] | str
            try:
                found = await self._cluster.get(CONFIG_MAPS, parameters.name, parameters.namespace)
                data = found.get("data") or {}
            except PASSING:
                raise
            except ApiError as error:
                data = str(error)
            read = self._parameters[parameters] = _Parameters(self._clock(), data)
        if isinstance(read.data, str):
            raise BadParameters(read.data)
        return with_parameters(options, read.data)

    async def _sweep(self, held: Held, ours: set[str], problems: dict[Key, str]) -> bool:
        """Take away what was made for a Gateway that is there and is not ours any more; of one that is gone the cluster does. What goes wrong
        is put into `problems`; whether the server was away.
        """
        known = {each.uid: each for name, each in held.objects.items() if name[0] == "Gateway"}
        again = False
        for name, each in {
            name: each for found in self._owned.values() for name, each in found.items()
        }.items():
            left = known.get(each.owner)
            if each.owner in ours or left is None or ("Gateway", left.key) in self._state().declared:
                continue
            name_of_class = _class(left)
            if name_of_class in held.classes or ("GatewayClass", Key("", name_of_class)) not in held.objects:
                continue  # It is refused as it is now; or its class is gone, which may come back.
            log.info("a gateway is not ours any more", gateway=str(each.gateway))
            try:
                await self._writes.take_away(name, each.owner, self._owned)
            except PASSING:
                again = True
            except ApiError as error:
                problems[each.gateway] = f"NoResources: it is not ours any more, and {error}"
        return again


def _said(held: Held) -> Iterator[tuple[Key, str, int]]:
    """What is made goes by these objects beside the documents; their statuses are ours."""
    for (kind, key), each in held.objects.items():
        if kind in ("Gateway", GATEWAY_CLASS):
            yield key, each.uid, each.generation


def infrastructure(found: ClusterObject) -> Infrastructure:
    """What `found`, a Gateway, says of what is made for it."""
    spec = found.tree.get("spec")
    said = spec.get("infrastructure") if isinstance(spec, dict) else None
    given = said if isinstance(said, dict) else {}

    def pairs(name: str) -> dict[str, str]:
        listed = given.get(name)
        return {key: str(value) for key, value in listed.items()} if isinstance(listed, dict) else {}

    return Infrastructure(found.uid, found.api_version, pairs("labels"), pairs("annotations"))


def _class(found: ClusterObject) -> str:
    spec = found.tree.get("spec")
    return str(spec.get("gatewayClassName")) if isinstance(spec, dict) else ""
