"""Tables for people, on the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ca.tokens import TokenRecord
from meshwright.status import ProxyStatus, Status


def show_status(status: Status, console: Console | None = None) -> None:
    console = console or Console()
    ready = (
        "ready"
        if status.ready
        else "NOT READY: a source has not answered yet, and nothing is served until it has"
    )
    console.print(
        f"meshwright {status.version} · trust domain {status.trust_domain} · {ready} · "
        f"{status.services} services, {status.workloads} workloads, {len(status.proxies)} proxies",
        highlight=False,
    )
    _sources(status, console)
    _proxies(status, console)
    for hold in status.holds:
        console.print(
            Text(
                f"HELD {hold.service} ({hold.source}): {hold.endpoints} endpoints, {hold.reason}. Ends in {_age(hold.ends_in)}, "
                f"or now by: meshwright hold release {hold.service}",
                style="yellow",
            )
        )
    for subject, problem in status.problems.items():
        console.print(Text(f"NOT SENT {subject}: {problem}", style="red"))
    for line in status.conflicts:
        console.print(Text(f"CONFLICT {line}", style="yellow"))
    for source in status.sources:
        for line in source.errors:
            console.print(Text(f"REFUSED {source.source}: {line}", style="red"))
        for line in source.warnings:
            console.print(Text(f"WARNING {source.source}: {line}", style="yellow"))
    for proxy in status.proxies:
        for kind in proxy.types:
            if kind.refused:
                names = ", ".join(kind.refused.names) or "(Envoy names none)"
                console.print(
                    Text(f"NACK {proxy.proxy} {kind.type} {names}: {kind.refused.message}", style="red")
                )
                for origin in kind.refused.origin:
                    console.print(Text(f"  made by {origin}", style="red"))
    for kind_of, when in status.certificates.items():
        console.print(f"first expiry of {kind_of}: {when}", highlight=False)


def _sources(status: Status, console: Console) -> None:
    table = Table("source", "state", "for", "services", "workloads", "error", box=None, pad_edge=False)
    for source in status.sources:
        style = "red" if source.state == "failed" else None
        table.add_row(
            source.source, source.state, _age(source.since), str(source.services), str(source.workloads), source.error or "",
            style=style,
        )  # fmt: skip
    console.print(table)


def _proxies(status: Status, console: Console) -> None:
    table = Table(
        "proxy", "state", "for", "acknowledged", "pending", "refused", "agent", box=None, pad_edge=False
    )
    for proxy in status.proxies:
        table.add_row(*_row(proxy))
    if status.proxies:
        console.print(table)
    else:
        console.print("no proxy is connected")


def _row(proxy: ProxyStatus) -> tuple[str, ...]:
    acknowledged = " ".join(f"{kind.type}:{kind.acknowledged}" for kind in proxy.types)
    pending = " ".join(f"{kind.type}:{','.join(kind.pending)}" for kind in proxy.types if not kind.in_sync)
    refused = " ".join(kind.type for kind in proxy.types if kind.refused)
    return proxy.proxy, proxy.state, _age(proxy.connected_for), acknowledged, pending, refused, proxy.agent


def tokens(records: Iterable[TokenRecord], console: Console | None = None) -> None:
    console = console or Console()
    table = Table("token", "identity", "workload", "expires", "used", box=None, pad_edge=False)
    for record in records:
        table.add_row(
            record.token_id,
            f"ns/{record.namespace}/sa/{record.service_account}",
            record.workload or "any",
            record.expires.isoformat(timespec="seconds"),
            f"{record.used}/{record.uses}",
        )
    console.print(table)


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
