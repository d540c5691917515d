"""Shows a single resource to an Envoy of the version that refused it, in a process of its own: does it refuse it too?"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from envoy.alone import TRIED, alone
from envoy.errors import EnvoyNotFound, InvalidConfiguration
from envoy.harmless import harmless
from envoy.install import of_minor
from envoy.launcher import validate
from envoy.render import Rendered
from envoy.validate import assemble
from meshwright.plan.stand_ins import StandIn
from meshwright.scopes import Scope
from policies.lua import is_program
from xds.types import CLUSTER

PATIENCE = 20.0
"""Seconds for one look at one resource, which takes Envoy 0.1."""
REMEMBERED = 500
MINOR = re.compile(r"envoy (\d+\.\d+)")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What stands around a resource at a client: its scopes, and the names of the clusters that it knows."""

    scopes: tuple[Scope, ...]
    clusters: tuple[str, ...]


class Envoys:
    """One process at a time, and each question once."""

    def __init__(self, now: Callable[[], datetime], find: Callable[[str], Path | None] = of_minor) -> None:
        """`now` tells the time in UTC. `find` where an Envoy of a minor version is; it may block."""
        self._now = now
        self._find = find
        self._binaries: dict[str, Path | None] = {}
        self._answers: OrderedDict[tuple[str, str, bytes], bool] = OrderedDict()
        self._one = asyncio.Lock()
        self._stand_in: StandIn | None = None

    async def accepts(self, envoy: str, resource: Rendered, around: Neighbours) -> bool | None:
        """Whether an Envoy of the version `envoy` (`envoy 1.40`) takes it; None: that cannot be told here."""
        if resource.type_url not in TRIED:
            return None
        asked = envoy, resource.type_url, resource.body
        if asked in self._answers:
            return self._answers[asked]
        async with self._one:
            binary = await self._binary(envoy)
            if binary is None:
                return None
            answer = await self._look(binary, resource, around)
        if answer is not None:
            self._answers[asked] = answer
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return answer

    async def _binary(self, envoy: str) -> Path | None:
        """One that was not there may be installed by now; where one is, it stays."""
        known = self._binaries.get(envoy)
        if known is not None and await asyncio.to_thread(known.exists):
            return known
        minor = MINOR.fullmatch(envoy)
        if minor is None:
            return None
        try:
            found = await asyncio.to_thread(self._find, minor.group(1))
        except (EnvoyNotFound, OSError) as error:
            log.warning("no Envoy to ask about what was refused", version=envoy, reason=str(error))
            return None
        if found is not None:
            self._binaries[envoy] = found
        return found

    async def _look(self, binary: Path, resource: Rendered, around: Neighbours) -> bool | None:
        try:
            with tempfile.TemporaryDirectory(prefix="meshwright-trial-") as folder:
                path = Path(folder) / "trial.pb"
                if not await asyncio.to_thread(self._write, path, resource, around):
                    return None  # it may be what cannot be shown that was refused
                async with asyncio.timeout(PATIENCE):
                    # Fields that this Envoy does not know it passes over, as it does in what comes by xDS.
                    await validate(binary, path, unknown_fields=True)
        except InvalidConfiguration:
            return False
        except TimeoutError:
            log.warning("Envoy takes too long to say whether it refuses a resource", resource=resource.name)
            return None
        except OSError as error:
            log.warning("Envoy cannot be asked about what was refused", reason=str(error))
            return None
        return True

    def _write(self, path: Path, resource: Rendered, around: Neighbours) -> bool:
        """Whether all of it can be shown to an Envoy here: see `harmless`."""
        if self._stand_in is None:
            self._stand_in = StandIn.made(self._now())
        clusters: Iterable[str] = ()
        if resource.type_url != CLUSTER:
            clusters = (each for each in around.clusters if each.encode() in resource.body)
        bootstrap = assemble(alone(resource, clusters), self._stand_in.secrets(around.scopes))
        if harmless(bootstrap, is_program):
            return False
        path.write_bytes(bootstrap.SerializeToString())
        return True
