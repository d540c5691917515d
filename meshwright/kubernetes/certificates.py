"""Certificates from Secrets and ConfigMaps of the cluster: those that a Gateway, a ListenerSet or a BackendTLSPolicy names, and no others.

Each is watched by its name alone, so that nothing else of anybody is ever read. What they hold is in memory, and nowhere else: in no
state, no log, no file. As with files, a certificate that is replaced by something that cannot be used stays in force. What is deleted, or named by
nobody any more, is gone at once, and so are authorities that are replaced by something else, whatever that is: whom to trust is the
owner's to take back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from ca.edge_secrets import Pem, UnusableFile, authorities_of, certificate_of
from envoy import names
from kube.client import Cluster, Selector
from kube.following import Changed, Event, Failed, Gone, Recovered, Replaced
from kube.reflector import Reflector
from kube.resource import CONFIG_MAPS, SECRETS, Object
from mesh.gateway_references import SECRET, Role
from mesh.gateway_secrets import named
from mesh.names import Key
from mesh.state import MeshState
from meshwright.certificates import Certificates, Held
from meshwright.kubernetes.secret_data import PARTS, content

PATIENCE: Final = 10.0
"""Seconds that a first answer waits for certificates. One that cannot be read must not keep all proxies waiting."""

log = structlog.get_logger(__name__)

Reference = tuple[str, Key]
"""The kind, Secret or ConfigMap, and the name."""


@dataclass(frozen=True, slots=True)
class Content:
    """What of an object could be a certificate, a key or authorities, by its place there. Secret."""

    parts: tuple[tuple[str, bytes], ...] = field(repr=False)


@dataclass(slots=True, eq=False)
class _Watch:
    """One object that is watched. `seen`: it was read, or may not be; `content` None: it is not there; `trouble`: why it cannot be read."""

    roles: frozenset[Role]
    content: Content | None = None
    seen: bool = False
    trouble: str = ""


class ClusterCertificates:
    """`certificates` is given what is read; `changed` is told, as by `Certificates.run`, what is others now. `clock` gives seconds and never goes
    back, `random` floats in [0, 1).
    """

    def __init__(
        self,
        cluster: Cluster,
        certificates: Certificates,
        changed: Callable[[frozenset[Key]], None],
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._certificates = certificates
        self._changed = changed
        self._clock = clock
        self._random = random
        self._watches: dict[Reference, _Watch] = {}
        self._declared: object = None
        self._grants: object = None
        self._woken = asyncio.Event()
        self._dirty: set[Reference] = set()
        self._held: dict[Reference, Held] = {}
        self._settled = asyncio.Event()
        self._waited = False
        self._told = ""
        certificates.beside = self.follow

    async def follow(self, state: MeshState) -> None:
        """See to it that what `state` names is watched. The first time it waits until all of that is read, for at most PATIENCE."""
        if state.declared is self._declared and state.routing.grants is self._grants:
            return
        self._declared, self._grants = state.declared, state.routing.grants
        wanted: dict[Reference, set[Role]] = {}
        for role, said in named(state):
            if (SECRET, said.key) in state.declared:
                continue  # A document says in which files it is.
            wanted.setdefault((said.kind, said.key), set()).add(role)
        for reference in self._watches.keys() - wanted.keys():
            del self._watches[reference]
            self._dirty.add(reference)
        for reference, roles in wanted.items():
            watch = self._watches.get(reference)
            if watch is None:
                self._watches[reference] = _Watch(frozenset(roles))
                self._dirty.add(reference)
            elif watch.roles != roles:
                watch.roles = frozenset(roles)
                self._dirty.add(reference)
        self._woken.set()
        self._settle()
        if self._waited:
            return
        self._waited = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), PATIENCE)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            tasks: dict[Reference, tuple[_Watch, asyncio.Task[None]]] = {}
            # Those of an earlier run, too: their reflectors ended with it.
            while True:
                for reference, (watch, task) in list(tasks.items()):
                    if self._watches.get(reference) is not watch:
                        task.cancel()
                        del tasks[reference]
                for reference, watch in self._watches.items():
                    if reference not in tasks:
                        tasks[reference] = watch, group.create_task(self._watch(reference, watch))
                await self._read()
                await self._woken.wait()
                self._woken.clear()

    async def _watch(self, reference: Reference, watch: _Watch) -> None:
        kind, key = reference
        reflector = Reflector(
            self._cluster,
            SECRETS if kind == SECRET else CONFIG_MAPS,
            _kept,
            selector=Selector(namespace=key.namespace, fields=f"metadata.name={key.name}"),
            clock=self._clock,
            random=self._random,
        )

        def tell(events: Sequence[Event[Content]]) -> None:
            self._heard(reference, watch, events)

        await reflector.run(tell)

    def _heard(self, reference: Reference, watch: _Watch, events: Iterable[Event[Content]]) -> None:
        for event in events:
            match event:
                case Replaced(values=values):
                    watch.content = next(iter(values.values()), None)
                case Changed(value=value):
                    watch.content = value
                case Gone():
                    watch.content = None
                case Failed(reason=reason) if watch.seen and not watch.trouble:
                    # What was read holds, and nothing is wrong with it: the server is away, or we may not ask any more.
                    self._warn("secrets cannot be followed: what was read holds", reason)
                    continue
                case Failed(reason=reason):
                    # A failure that passes is no answer: whoever waits for the first one waits on.
                    watch.trouble = reason
                    watch.seen = watch.seen or event.lasting
                    if not watch.seen:
                        self._warn("secrets cannot be read yet", reason)
                    self._dirty.add(reference)
                    continue
                case Recovered():
                    continue  # what is there is told next
            watch.trouble, watch.seen = "", True
            self._dirty.add(reference)
        self._woken.set()

    def _warn(self, what: str, reason: str) -> None:
        """Once, however many of them say so."""
        if reason != self._told:
            self._told = reason
            log.warning(what, reason=reason)

    async def _read(self) -> None:
        """Look at what has moved, and hand all of it on."""
        while self._dirty:
            dirty, self._dirty = self._dirty, set()
            work = {each: (self._watches.get(each), self._held.get(each)) for each in dirty}
            made = await asyncio.to_thread(_all_held, work)
            for reference, held in made.items():
                if held is None or reference not in self._watches:
                    self._held.pop(reference, None)
                else:
                    self._held[reference] = held
            self._certificates.give(together(self._held), self._changed)
        self._settle()

    def _settle(self) -> None:
        """Whether all that is wanted was seen, and what was seen is handed on."""
        if all(each.seen for each in self._watches.values()) and not self._dirty:
            self._settled.set()
        else:
            self._settled.clear()


def together(held: Mapping[Reference, Held]) -> dict[Key, Held]:
    """By key. Where a Secret and a ConfigMap of one name are both referred to, the Secret counts: fewer people may write it."""
    made: dict[Key, Held] = {}
    for (kind, key), each in sorted(held.items(), key=lambda item: item[0][0] == SECRET):
        if kind == SECRET and key in made:
            log.warning("a Secret and a ConfigMap of one name are named: the Secret counts", name=str(key))
        made[key] = each
    return made


def _kept(found: Object) -> Content | None:
    return Content(tuple(sorted(content(found).items())))


def _all_held(work: Mapping[Reference, tuple[_Watch | None, Held | None]]) -> dict[Reference, Held | None]:
    return {
        reference: None
        if watch is None
        else held(reference, watch.roles, watch.content, before, seen=watch.seen, trouble=watch.trouble)
        for reference, (watch, before) in work.items()
    }


def held(
    reference: Reference,
    roles: Iterable[Role],
    found: Content | None,
    before: Held | None = None,
    *,
    seen: bool = True,
    trouble: str = "",
) -> Held:
    """What is in force of an object, `before` being what was. `trouble`: why it cannot be read for now; `seen`: it, or that, is known."""
    kind, key = reference
    had = before or Held()
    if not seen:
        return Held(problem=f"{kind} {key} is being read{trouble and f': {trouble}'}", pending=True)
    if trouble:
        return Held(certificate=had.certificate, authorities=had.authorities, problem=trouble)
    if found is None:
        return Held(problem=f"there is no {kind} {key} in the cluster")
    parts = {name: Pem(f"{kind} {key}, data {name}", data) for name, data in found.parts}
    shown, known = had.certificate, None
    problems = []
    for role in sorted(set(roles), key=lambda each: each.value):
        if missing := [each for each in PARTS[role] if each not in parts]:
            problems.append(f"{kind} {key} has no data {' and '.join(missing)}")
            continue
        try:
            if role is Role.AUTHORITY:
                known = authorities_of(names.gateway_authorities(key), parts["ca.crt"])
            else:
                shown = certificate_of(names.gateway_certificate(key), parts["tls.crt"], parts["tls.key"])
        except UnusableFile as error:
            problems.append(str(error))
        except Exception as error:  # noqa: BLE001 (objects are anybody's: what they make a parser do must not end all others)
            # No more than the type: a message may hold what the object does.
            problems.append(f"{kind} {key} cannot be used ({type(error).__name__}): replace it")
    return Held(certificate=shown, authorities=known, problem="; ".join(dict.fromkeys(problems)))
