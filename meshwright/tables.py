"""What people read on the terminal. Troubles first; a line for each thing; nothing is cut off, whatever the width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from api.shapes.status import ConditionStatus, ProxyStatus, Sees, ServiceListing, Status, WorkloadListing
from meshwright.commands import output
from meshwright.commands.layout import Column


def show_status(status: Status, release: str, console: Console | None = None) -> None:
    """`release` is the command that ends holds, complete with its options."""
    console = console or a_console()
    ready = (
        "ready" if status.ready else "NOT READY: a source has not answered yet; nobody is served until it has"
    )
    line(
        console,
        f"meshwright {status.version} · trust domain {status.trust_domain} · {ready} · {status.services} services, "
        f"{status.workloads} workloads, {len(status.proxies)} proxies",
    )
    _troubles(status, release, console)
    console.print()
    table(
        console,
        ("source", "state", "for", "services", "workloads", "refused", "warnings"),
        [
            (
                each.source, each.state, age(each.since), str(each.services), str(each.workloads),
                str(len(each.errors) or ""), str(len(each.warnings) or ""),
            )
            for each in status.sources
        ],
    )  # fmt: skip
    for each in status.sources:
        if each.at is not None:
            line(console, f"{each.source} are of Git's {each.at}")
    console.print()
    if status.proxies:
        rows = [
            (each.proxy, _state(each), age(each.connected_for), each.protocol, each.agent, _sees(each.sees))
            for each in status.proxies
        ]
        table(console, ("proxy", "state", "connected for", "protocol", "agent", "sees"), rows)
    else:
        console.print("no proxy is connected")
    _conditions(status, console)
    if status.federated:
        console.print()
        table(console, ("federated", "trust bundle"), list(status.federated.items()))
    ends = ", ".join(f"{kind} {when}" for kind, when in status.certificates.items())
    line(console, f"\nfirst certificates to end: {ends}")


def _conditions(status: Status, console: Console) -> None:
    """Routes and gateways: each with what holds, and every condition that does not."""
    rows = [
        (each.subject, "all" if not failed else f"all but {len(failed)}", each.at)
        for each in _told(status)
        for failed in [list(unmet(each.conditions))]
    ]
    if rows:
        console.print()
        table(console, ("route or gateway", "conditions met", "at"), rows)


@dataclass(frozen=True, slots=True)
class _Told:
    """What has conditions, and what it is attached to or played by."""

    subject: str
    conditions: tuple[ConditionStatus, ...]
    at: str


def _told(status: Status) -> Iterator[_Told]:
    """Gateways, their sets, routes, and policies for TLS to backends."""
    for gateway in status.gateways:
        yield _Told(f"Gateway {gateway.gateway}", gateway.conditions, ", ".join(gateway.workloads))
    for one in status.listener_sets:
        yield _Told(f"ListenerSet {one.listener_set}", one.conditions, f"Gateway {one.gateway}")
    for route in status.routes:
        yield _Told(route.route, route.conditions, _places(route.conditions))
    for policy in status.backend_tls:
        yield _Told(f"BackendTLSPolicy {policy.policy}", policy.conditions, _places(policy.conditions))


def _places(conditions: Iterable[ConditionStatus]) -> str:
    return ", ".join(dict.fromkeys(each.at for each in conditions))


def unmet(conditions: Iterable[ConditionStatus]) -> Iterator[ConditionStatus]:
    """Those that do not hold; of a conflict, that it is there."""
    return (each for each in conditions if each.status is (each.type == "Conflicted"))


def troubled(status: Status) -> bool:
    """Whether somebody should look: something was refused, is held, failing or out of sync."""
    return bool(
        not status.ready
        or status.holds
        or status.problems
        or status.conflicts
        or any(True for each in _told(status) for _ in unmet(each.conditions))
        or any(each.error or each.errors for each in status.sources)
        or any(kind.refused or kind.late for each in status.proxies for kind in each.types)
        or any(each.state == "waiting" for each in status.proxies)
    )


def _label(status: Status, subject: str) -> str:
    """What kind of problem that of `subject` is."""
    if subject in status.quarantined:
        return f"REFUSING {subject}" if subject.startswith("proxy ") else f"QUARANTINED {subject}"
    if subject in status.of_rollouts:
        return f"ROLLOUT {subject}"
    if subject in status.of_cluster:
        return f"CLUSTER {subject}"
    return f"NOT SENT {subject}: Envoy would refuse it"


def _troubles(status: Status, release: str, console: Console) -> None:
    for source in status.sources:
        if source.error:
            line(console, f"FAILED {source.source}: {_one_line(source.error)}", "red")
        for text in source.errors:
            line(console, f"REFUSED {source.source}: {text}", "red")
    for subject, problem in status.problems.items():
        line(console, f"{_label(status, subject)}: {problem}", "red")
    for proxy in status.proxies:
        for kind in proxy.types:
            if kind.refused:
                names = ", ".join(kind.refused.names[:5]) or "(Envoy names none)"
                made_by = "".join(f"\n  made by {origin}" for origin in kind.refused.origin[:5])
                line(
                    console,
                    f"NACK {proxy.proxy} {kind.type} {names}: {_one_line(kind.refused.message)}{made_by}",
                    "red",
                )
            if kind.late:
                line(console, f"LATE {proxy.proxy}: no answer to a {kind.type} response", "red")
    for hold in status.holds:
        line(
            console,
            f"HELD {hold.service} ({hold.source}): {hold.endpoints} endpoints stay as they were, because {hold.reason}. "
            f"It ends in {age(hold.ends_in)}, or now by: {release} {hold.service}",
            "yellow",
        )
    for told in _told(status):
        for each in unmet(told.conditions):
            at = f" at {each.at}" if each.at else ""
            line(console, f"{each.reason} {told.subject}{at}: {_one_line(each.message)}", "yellow")
    for replica in status.replicas:
        names = ", ".join([*replica.behind[:5], *replica.refusing[:5]])
        said = f" (behind, or refusing: {names})" if names else ""
        line(
            console,
            f"REPLICA {replica.replica}: revision {replica.revision} {replica.state} at {replica.proxies} proxies{said}",
            "yellow" if names else "",
        )
    for text in status.conflicts:
        line(console, f"CONFLICT {text}", "yellow")
    for text in status.notes:
        line(console, f"NOTE {text}", "yellow")
    for proxy in status.proxies:
        if proxy.note:
            line(console, f"NOTE {proxy.proxy}: {proxy.note}", "yellow")
    for source in status.sources:
        for text in source.warnings:
            line(console, f"WARNING {source.source}: {text}", "yellow")


def _state(proxy: ProxyStatus) -> str:
    """In a few words: waiting, in sync, or which types are behind or refused."""
    if proxy.state == "waiting":
        return "waiting"
    refused = [kind.type for kind in proxy.types if kind.refused]
    behind = [kind.type for kind in proxy.types if not kind.in_sync and not kind.refused]
    parts = [f"refused {', '.join(refused)}"] if refused else []
    parts += [f"behind in {', '.join(behind)}"] if behind else []
    return "; ".join(parts) or "in sync"


def _sees(sees: Sees | None) -> str:
    """`3 of 500 services: 7 kB, 0.2 MB of memory, instead of 1.2 MB, 28 MB`; `everything` for all. With clusters on demand, after the
    services: `2 of 3 clusters`.
    """
    if sees is None:
        return ""
    if sees.services >= sees.of_services and not sees.of_clusters:
        return f"everything: {_bytes(sees.size)}"
    demanded = f", {sees.clusters} of {sees.of_clusters} clusters" if sees.of_clusters else ""
    return (
        f"{sees.services} of {sees.of_services} services{demanded}: {_bytes(sees.size)}, {_bytes(sees.memory)} of memory, "
        f"instead of {_bytes(sees.of_size)}, {_bytes(sees.of_memory)}"
    )


def _bytes(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 100_000 else f"{max(number, 0) / 1e3:.0f} kB"


def show_services(services: Sequence[ServiceListing], console: Console | None = None) -> None:
    rows = [
        (
            each.service, " ".join(each.ports), f"{each.passing}/{each.endpoints}", ", ".join(each.accounts), each.source,
            ", ".join(each.origin),
        )
        for each in services
    ]  # fmt: skip
    table(
        console or a_console(), ("service", "ports", "serving", "identities", "source", "declared by"), rows
    )


def show_workloads(workloads: Sequence[WorkloadListing], console: Console | None = None) -> None:
    rows = [
        (
            each.workload, " ".join(each.services), each.address, " ".join(each.ports), each.health,
            "meshed" if each.meshed else "no sidecar", each.proxy, each.account, each.source,
        )
        for each in workloads
    ]  # fmt: skip
    headings = (
        "workload",
        "serves",
        "address",
        "ports (app, sidecar)",
        "health",
        "sidecar",
        "proxy",
        "account",
        "source",
    )
    table(console or a_console(), headings, rows)


def table(console: Console, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The first column names something, and is never folded."""
    first, *others = headings
    output.table(console, [first, *(Column(each, folds=True) for each in others)], rows)


line = output.say
a_console = output.a_console


def _one_line(text: str) -> str:
    """Foreign text may not look like lines of ours."""
    return " ⏎ ".join(text.splitlines())


def age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
