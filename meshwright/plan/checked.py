"""What proxies would get, shown to a real Envoy: each kind of proxy that a plan concerns once, up to a number."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from api.shapes.plan import EnvoyCheck
from envoy.errors import InvalidConfiguration
from envoy.harmless import harmless
from envoy.install import find_envoy
from envoy.launcher import validate
from envoy.render import Rendered
from envoy.validate import assemble
from meshwright.plan.grouping import ResourceChange
from meshwright.plan.stand_ins import StandIn
from meshwright.plan.twin import Given
from meshwright.scopes import Scope
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from policies.lua import is_program
from xds.resource import Resource
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE, SECRET

MOST = 8
"""Configurations that are checked: one takes Envoy 0.1 to 1 s."""
WHOLE = 3_000
"""Resources of one proxy that are checked all together. Of more, those that change and what they need: 5,000 clusters take Envoy 9 s."""
PATIENCE = 60.0
"""Seconds for one of them."""
SAID = 4_000
"""Characters of Envoy's words that are told."""
FRAME = re.compile(r"^\[.*?error initializing configuration '[^']*': ")
"""What Envoy says around the matter itself."""
NOT_ASKED = EnvoyCheck(result="not-run", text="it was not asked for")
NO_ENVOY = EnvoyCheck(
    result="not-run",
    text="there is no Envoy here: `meshwright envoy install` installs the one that Meshwright is tested with, ENVOY_BIN names another",
)


HIDDEN = "as a proxy would get it in a namespace that you may not view: whoever may is told Envoy's words"


def everything(_namespace: str) -> bool:
    return True


async def checked(
    given: Given,
    changes: Iterable[ResourceChange],
    now: Callable[[], datetime],
    find: Callable[[], Path | None] = find_envoy,
    visible: Callable[[str], bool] = everything,
) -> EnvoyCheck:
    """What Envoy says of it. `find` tells where it is. Of proxies in namespaces that are not `visible`, no name and no word is told."""
    kinds = await asyncio.to_thread(lambda: tuple(_kinds(changes)))
    if not kinds:
        return EnvoyCheck(result="not-run", text="no proxy is given anything else")
    binary = find()
    if binary is None:
        return NO_ENVOY
    stand_in = await asyncio.to_thread(StandIn.made, now())
    withheld: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="meshwright-plan-") as folder:
        for number, (client, differing) in enumerate(kinds[:MOST]):
            path = Path(folder) / f"{number}.pb"
            not_shown = await asyncio.to_thread(_write, path, given, client, differing, stand_in)
            withheld.update(not_shown)
            try:
                async with asyncio.timeout(PATIENCE):
                    # Fields that this Envoy does not know it passes over, as it does in what comes by xDS.
                    await validate(binary, path, unknown_fields=True)
            except InvalidConfiguration as error:
                if not visible(client.partition("/")[0]):
                    return _result("refused", HIDDEN, number + 1, len(kinds))
                words = FRAME.sub("", str(error).partition("\n")[2])[-SAID:]
                if not_shown:
                    # What was taken out may be what is missing: that is no word about what the proxy would get.
                    text = f"{_told(not_shown)}; of the rest as {client} would get it, which may be for that:\n{words}"
                    return _result("not-run", text, number, len(kinds))
                return _result("refused", f"as {client} would get it:\n{words}", number + 1, len(kinds))
            except TimeoutError:
                who = client if visible(client.partition("/")[0]) else "a proxy that you may not view"
                text = f"Envoy took more than {PATIENCE:.0f} s for what {who} would get"
                return _result("not-run", text, number, len(kinds))
    return _result("valid", _told(withheld), min(MOST, len(kinds)), len(kinds))


def _told(withheld: Collection[str]) -> str:
    return (
        f"not shown to Envoy, which would run or read it here: {', '.join(sorted(withheld))}"
        if withheld
        else ""
    )


def _result(result: str, text: str, done: int, of: int) -> EnvoyCheck:
    return EnvoyCheck.model_validate({"result": result, "text": text, "checked": done, "configurations": of})


def _kinds(changes: Iterable[ResourceChange]) -> Iterator[tuple[str, frozenset[tuple[str, str]]]]:
    """A client for each set of changes that some have in common, those of most clients first; and the resources that change for it."""
    entries = tuple(changes)
    of_client: dict[str, list[int]] = {}
    for number, each in enumerate(entries):
        for client in each.proxies:
            of_client.setdefault(client, []).append(number)
    alike: dict[tuple[int, ...], list[str]] = {}
    for client, touched in of_client.items():
        alike.setdefault(tuple(touched), []).append(client)
    for numbers, clients in sorted(alike.items(), key=lambda item: (-len(item[1]), item[1])):
        yield (
            clients[0],
            frozenset((entries[each].type_url, name) for each in numbers for name in entries[each].names),
        )


def _write(
    path: Path, given: Given, client: str, differing: frozenset[tuple[str, str]], stand_in: StandIn
) -> tuple[str, ...]:
    """Returns what is not shown: see `harmless`."""
    scopes = given.after[client]
    resources = tuple(_seen(given, scopes))
    if len(resources) > WHOLE:
        resources = tuple(_slice(resources, differing))
    rendered = (Rendered(each.type_url, each.name, each.body) for each in resources)
    bootstrap = assemble(rendered, stand_in.secrets(scopes))
    withheld = harmless(bootstrap, is_program)
    path.write_bytes(bootstrap.SerializeToString())
    return withheld


def _seen(given: Given, scopes: Iterable[Scope]) -> Iterator[Resource]:
    told: set[tuple[str, str]] = set()
    for scope in scopes:
        for name, each in given.held.now(scope).items():
            if name not in told and each.type_url != SECRET:
                told.add(name)
                yield each


def _slice(resources: Iterable[Resource], differing: frozenset[tuple[str, str]]) -> Iterator[Resource]:
    """What changes, all listeners, and what these and changed routes lead to, as far as names tell."""
    every = tuple(resources)
    listeners = b"\0".join(each.body for each in every if each.type_url == LISTENER)
    names = {name for _, name in differing}
    for each in every:
        if (
            each.type_url == LISTENER
            or (each.type_url, each.name) in differing
            or (
                each.type_url in {CLUSTER, ENDPOINT}
                and (each.name in names or each.name.encode() in listeners)
            )
            or (each.type_url == ROUTE and each.name.encode() in listeners)
            or (each.type_url == SCOPED_ROUTE and _leads_to(each) in names)
        ):
            yield each


def _leads_to(scope: Resource) -> str:
    return ScopedRouteConfiguration.FromString(scope.body).route_configuration_name
