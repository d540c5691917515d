"""`meshwright ca status` on the terminal."""

from __future__ import annotations

from rich.console import Console

from api.shapes.ca import CaStatus, MoveStatus
from meshwright.tables import a_console, line, table


def show_ca(status: CaStatus, console: Console | None = None) -> None:
    console = console or a_console()
    for text in status.warnings:
        line(console, f"WARNING {text}")
    aborting = ", turning back" if status.aborting else ""
    line(
        console,
        f"stage {status.stage}{aborting} since {status.since} · {status.leaves} certificates are good",
    )
    if status.awaits_operator:
        who = f"{status.lagging_in_all} and then for you" if status.lagging_in_all else "you"
        line(console, f"it waits for {who}: `meshwright ca proceed` lets it go on")
    console.print()
    table(
        console,
        ("root (SHA-256)", "until", ""),
        [(each.sha256[:16], each.not_after, "signs" if each.signs else "trusted") for each in status.roots],
    )
    line(console, f"\nintermediate until {status.intermediate_not_after}")
    if status.lagging:
        console.print()
        table(
            console,
            ("waits for", "holder", "here", "lacks", "since", "at most until", "note"),
            [
                (
                    each.workload,
                    each.holder,
                    "yes" if each.connected else "no",
                    each.lacks,
                    each.since,
                    each.until,
                    each.note,
                )
                for each in status.lagging
            ],
        )
        more = status.lagging_in_all - len(status.lagging)
        if more:
            line(console, f"and {more} more")
    if status.move is not None:
        _show_move(status.move, console)


def _show_move(move: MoveStatus, console: Console) -> None:
    console.print()
    heard = "every proxy has heard of them" if move.heard else "it waits for proxies to hear of them"
    line(console, f"trust domain {move.trust_domain}, and its aliases: {heard}")
    table(
        console,
        ("alias", "certificates", "may become the trust domain", "may be taken out"),
        [
            (each.name, str(each.certificates), "yes" if each.next else "not yet", each.keeps or "yes")
            for each in move.aliases
        ],
    )
    if move.waits_for:
        console.print()
        table(
            console,
            ("waits for", "here", "because"),
            [(each.workload, "yes" if each.connected else "no", each.lacks) for each in move.waits_for],
        )
    if more := move.waits_for_in_all - len(move.waits_for):
        line(console, f"and {more} more")
