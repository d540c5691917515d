"""What `meshwright plaintext` shows."""

from __future__ import annotations

from rich.console import Console

from api.shapes.status import PlaintextReport, UnstrictPort
from meshwright.tables import a_console, age, line, table

ENOUGH = 3600.0
"""Seconds without a call in plaintext after which a port counts as ready to be strict."""


def show(report: PlaintextReport, console: Console | None = None) -> None:
    console = console or a_console()
    if not report.ports and not report.calls:
        line(console, "every port is strict: no call without mesh TLS is taken")
        return
    line(
        console,
        f"watched for {age(report.watched_for)}, since this control plane started: what came before is not known",
    )
    if report.crowded_out:
        line(console, f"{report.crowded_out} callers more, for which there was no room", "yellow")
    console.print()
    if report.ports:
        _ports(report, console)
    else:
        line(
            console,
            "every port is strict: no call without mesh TLS is taken any more; those below were before",
        )
    if report.calls:
        _calls(report, console)


def _ports(report: PlaintextReport, console: Console) -> None:
    table(
        console,
        ("port", "mode", "sidecars", "last plaintext", "strict?"),
        [
            (
                f"{each.service}:{each.port}", ", ".join(each.modes), f"{each.connected}/{each.sidecars}",
                "none" if each.last is None else f"{age(each.last)} ago",
                verdict(each, report.watched_for, report.replicas),
            )
            for each in report.ports
        ],
    )  # fmt: skip


def _calls(report: PlaintextReport, console: Console) -> None:
    console.print()
    rows = [
        (
            f"{each.service}:{each.port}", each.caller, ", ".join(each.workloads), each.spoken, str(each.count),
            f"{age(each.first)} ago", f"{age(each.last)} ago",
        )
        for each in report.calls
    ]  # fmt: skip
    table(console, ("port", "caller", "workloads there", "protocol", "calls", "first", "last"), rows)


def verdict(port: UnstrictPort, watched_for: float, replicas: int = 1) -> str:
    """Whether strict would refuse anybody, as far as it is known. One of several `replicas` has heard of some of the calls only."""
    if port.last is not None and port.last < ENOUGH:
        return "no: it would refuse the callers below"
    if replicas > 1:
        if watched_for < ENOUGH:
            return f"not known: watched for {age(watched_for)} only; an hour is enough"
        return f"not known: none was told to this replica; ask each of the {replicas}, and if none knows any, yes"
    if port.connected < port.sidecars:
        return "not known: not all of its sidecars are connected"
    if watched_for < ENOUGH:
        return f"not known: watched for {age(watched_for)} only; an hour is enough"
    return "yes"
