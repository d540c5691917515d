"""From runs to rows: medians, ratios, the table and build/bench.json."""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import Run

OURS, PLAIN, SCOPED = "meshwright", "go-control-plane-plain", "go-control-plane-scoped"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `ratio` is meshwright / peer, and good up to `limit`; None: there is no peer, and nothing to judge.

    `extra` holds what is reported beside it.
    """

    name: str
    what: str
    unit: str
    meshwright: float
    peer: float
    limit: float | None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.meshwright / self.peer if self.peer else float("inf")

    @property
    def good(self) -> bool:
        return self.limit is None or self.ratio <= self.limit

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "meshwright": round(self.meshwright, 3),
            "peer": round(self.peer, 3),
            "ratio": round(self.ratio, 6) if self.limit is not None else None,
            "limit": self.limit,
            **self.extra,
        }


Figure = Callable[[Run], Sequence[float]]

COLD: Figure = lambda run: (run.cold_start,)  # noqa: E731
REPLACED: Figure = lambda run: run.endpoint_replaced  # noqa: E731
ADDED: Figure = lambda run: run.service_added  # noqa: E731
ROUTED: Figure = lambda run: run.service_routed  # noqa: E731
PSS: Figure = lambda run: (run.memory.pss / 1e6,)  # noqa: E731
PEAK: Figure = lambda run: (run.memory.peak / 1e6,)  # noqa: E731
COLD_BYTES: Figure = lambda run: (float(run.cold_start_bytes),)  # noqa: E731
COLD_CPU: Figure = lambda run: (run.cold_start_cpu,)  # noqa: E731
UPDATE_BYTES: Figure = lambda run: (float(run.update_bytes),)  # noqa: E731
RECONNECT: Figure = lambda run: (float(run.reconnect_bytes),)  # noqa: E731
RECONNECT_SENT: Figure = lambda run: (float(run.reconnect_sent_bytes),)  # noqa: E731


class Results:
    """All runs, by side and mode."""

    def __init__(self, runs: Sequence[Run], peer: str = PLAIN) -> None:
        """Rows compare with the side called `peer`."""
        self._runs = runs
        self._peer = peer

    def samples(self, side: str, mode: str, figure: Figure) -> list[float]:
        return [value for run in self._runs if (run.side, run.mode) == (side, mode) for value in figure(run)]

    def median(self, side: str, mode: str, figure: Figure) -> float | None:
        found = self.samples(side, mode, figure)
        return statistics.median(found) if found else None

    def rows(self) -> list[Row]:
        delta, sotw = "delta", "sotw"
        rows = [
            self._row("cold_start", "cold start", "ms", COLD, delta, 0.8,
                      bytes=COLD_BYTES, server_cpu_seconds=COLD_CPU),
            self._row("endpoint_replaced_delta", "one endpoint replaced, delta", "ms", REPLACED, delta, 0.5,
                      bytes=UPDATE_BYTES),
            self._row("endpoint_replaced_sotw", "one endpoint replaced, SotW", "ms", REPLACED, sotw, 0.05,
                      bytes=UPDATE_BYTES),
            self._row("service_added", "a service added", "ms", ADDED, delta, 0.3,
                      routed_too=ROUTED),
            self._row("memory", "memory after the cold start", "MB", PSS, delta, 0.4, peak_rss=PEAK),
            self._reconnect(),
            self._policies(),
        ]  # fmt: skip
        return [row for row in rows if row is not None]

    def _row(
        self, name: str, what: str, unit: str, figure: Figure, mode: str, limit: float, **beside: Figure
    ) -> Row | None:
        """The comparison; both shapes of the peer, TLS, the other mode and further figures are extras."""
        ours, peer = self.median(OURS, mode, figure), self.median(self._peer, mode, figure)
        if ours is None or peer is None:
            return None
        extra: dict[str, Any] = {"mode": mode, "samples": self._all(mode, self.samples, figure)}
        for label, side in (("plain", PLAIN), ("scoped", SCOPED)):
            if theirs := self.median(side, mode, figure):
                extra |= {f"peer_{label}": round(theirs, 3), f"ratio_{label}": round(ours / theirs, 6)}
        tls, peer_tls = self.median(OURS + "-tls", mode, figure), self.median(PLAIN + "-tls", mode, figure)
        if tls and peer_tls:
            extra["tls"] = {
                "meshwright": round(tls, 3),
                "peer": round(peer_tls, 3),
                "ratio": round(tls / peer_tls, 6),
            }
        other = "sotw" if mode == "delta" else "delta"
        if not name.endswith(("_delta", "_sotw")) and self.median(OURS, other, figure) is not None:
            extra[other] = self._all(other, self.median, figure)
        for label, each in beside.items():
            extra[label] = self._all(mode, self.median, each)
        return Row(name, what, unit, ours, peer, limit, extra)

    def _all(self, mode: str, take: Callable[[str, str, Figure], Any], figure: Figure) -> dict[str, Any]:
        named = (("meshwright", OURS), ("peer_plain", PLAIN), ("peer_scoped", SCOPED))
        return {label: found for label, side in named if (found := take(side, mode, figure))}

    def _reconnect(self) -> Row | None:
        """All streams broken at once: what that moves, as a share of what the cold start moved on the same side."""
        moved, cold = self.median(OURS, "delta", RECONNECT), self.median(OURS, "delta", COLD_BYTES)
        if moved is None or cold is None:
            return None
        extra: dict[str, Any] = {
            "mode": "delta",
            "note": "peer is Meshwright's own cold start; ratio is the share of it that a reconnect of all streams moves",
            "bytes_to_server": self._all("delta", self.median, RECONNECT_SENT),
        }
        for label, side in (("go_control_plane", PLAIN), ("go_control_plane_scoped", SCOPED)):
            theirs, their_cold = self.median(side, "delta", RECONNECT), self.median(side, "delta", COLD_BYTES)
            if theirs is not None and their_cold:
                extra[label] = {
                    "reconnect": theirs,
                    "cold_start": their_cold,
                    "share": round(theirs / their_cold, 6),
                }
        return Row(
            "reconnect_bytes",
            "all streams broken: bytes",
            "bytes",
            moved,
            cold,
            0.001,
            extra,
        )

    def _policies(self) -> Row | None:
        """One endpoint replaced while policies are in force, beside the same without any."""
        with_them = self.median(OURS + "-policies", "delta", REPLACED)
        without = self.median(OURS, "delta", REPLACED)
        if with_them is None or without is None:
            return None
        extra: dict[str, Any] = {
            "mode": "delta",
            "note": "peer is Meshwright itself without policies",
            "samples": self.samples(OURS + "-policies", "delta", REPLACED),
            "cold_start": self.median(OURS + "-policies", "delta", COLD),
        }
        return Row(
            "endpoint_replaced_with_policies",
            "one endpoint replaced, with policies",
            "ms",
            with_them,
            without,
            1.15,
            extra,
        )


def write(rows: Sequence[Row], path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.document() for row in rows], indent=2) + "\n")


HEADINGS = [
    "",
    "unit",
    "Meshwright",
    "peer, leanest",
    "ratio",
    "peer, our shape",
    "ratio",
    "limit",
    "",
    "TLS",
    "peer, TLS",
    "ratio",
]


def show(rows: Sequence[Row], console: Console) -> None:
    table = Table(title="Meshwright beside go-control-plane: medians", title_justify="left")
    for name in HEADINGS:
        table.add_column(name, justify="left" if name in {"", "unit"} else "right")
    for row in rows:
        tls = row.extra.get("tls", {})
        table.add_row(
            row.what, row.unit, _number(row.meshwright),
            _number(row.extra.get("peer_plain")), _ratio(row.extra.get("ratio_plain", row.ratio if row.limit is not None else None)),
            _number(row.extra.get("peer_scoped")), _ratio(row.extra.get("ratio_scoped")),
            "" if row.limit is None else f"≤ {row.limit:g}",
            "" if row.limit is None else "[green]met[/]" if row.good else "[red]missed[/]",
            _number(tls.get("meshwright")), _number(tls.get("peer")), _ratio(tls.get("ratio")),
        )  # fmt: skip
    console.print(table)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value >= 0.01 else f"{value:.5f}"
