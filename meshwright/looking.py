"""What the API tells of logs: the control plane's own, those of proxies, and what they amount to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from api.errors import NotFound
from api.shapes.logs import (
    AccessLine,
    AccessPage,
    ControlPlaneLogsQuery,
    LogLine,
    LogPage,
    ProxyLogsQuery,
    ProxyTop,
    Top,
    TopQuery,
)
from api.shapes.status import ProxyStatus, Status
from mesh.names import Key
from meshwright.access_lines import AccessLines, Rates
from meshwright.log_ring import LogRing
from meshwright.log_watch import LogWatch


class Looking:
    """Implements `api.looking.Logs`. `known`: whether the mesh has a workload of that name."""

    def __init__(
        self,
        ring: LogRing,
        access: AccessLines,
        watch: LogWatch,
        status: Callable[[], Status],
        known: Callable[[Key], bool],
    ) -> None:
        self._ring, self._access, self._watch, self._status, self._known = ring, access, watch, status, known

    def control_plane(self, query: ControlPlaneLogsQuery) -> LogPage:
        lines = self._ring.lines(query.lines, after=query.after, level=query.level)
        return LogPage(
            items=tuple(
                LogLine(
                    number=each.number, at=each.at, level=each.level, event=each.event, fields=each.fields
                )
                for each in lines
            ),
            last=self._ring.last,
        )

    def proxy(self, proxy: Key, query: ProxyLogsQuery) -> AccessPage:
        last = self._access.last(proxy)
        if not last and not self._known(proxy):
            raise NotFound(f"there is no workload {proxy}: `meshwright workloads` lists those that are")
        watched = query.watch and self._watch.want(proxy)
        lines = self._access.lines(proxy, query.lines, after=query.after)
        return AccessPage(
            items=tuple(AccessLine(**dataclasses.asdict(each)) for each in lines),
            last=max(last, query.after),
            sends=bool(last),
            watched=watched,
        )

    def top(self, query: TopQuery) -> Top:
        rates = {str(each.proxy): each for each in self._access.rates(query.window)}
        connected = {each.proxy: each for each in self._status().proxies}
        busiest = sorted(
            rates.keys() | connected.keys(),
            key=lambda name: (-(rates[name].count / rates[name].over) if name in rates else 0.0, name),
        )
        return Top(items=tuple(_top(name, rates.get(name), connected.get(name)) for name in busiest))


def _top(name: str, rates: Rates | None, status: ProxyStatus | None) -> ProxyTop:
    types = status.types if status else ()
    return ProxyTop(
        proxy=name,
        connected=status is not None,
        measured=rates is not None,
        over=rates.over if rates else None,
        requests_per_second=rates.count / rates.over if rates else None,
        errors=rates.errors / rates.count if rates and rates.count else None,
        p50=rates.p50 if rates else None,
        p99=rates.p99 if rates else None,
        configuration=status.sees.size if status and status.sees else None,
        behind=tuple(each.type for each in types if not each.in_sync and not each.refused),
        refused=tuple(each.type for each in types if each.refused),
    )
