"""What has to be done: the difference between the rules that are there and those that are wanted. Pure.

The difference is a text for `iptables-restore --noflush`, which puts each table in place in one step: no packet ever sees
half of it. With --noflush a line `:CHAIN - [0:0]` makes a chain of the user's empty, whether it was there or not, and what is not
mentioned stays (iptables-restore(8)).
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from agent.intercept.rules import PREFIX, Table

EMPTY = "[0:0]"
"""The packet and byte counters of a new chain."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a table holds of ours: jumps from others' chains, and for each chain its rules; whole lines, in order."""

    jumps: tuple[str, ...] = ()
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __bool__(self) -> bool:
        return bool(self.jumps or self.chains)


def found(saved: str) -> dict[str, Found]:
    """What `saved`, the output of iptables-save, holds of ours, by table. Tables with nothing of ours are left out."""
    tables: dict[str, Found] = {}
    jumps: list[str] = []
    chains: dict[str, list[str]] = {}
    name = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            name, jumps, chains = line[1:].strip(), [], {}
        elif line.startswith(f":{PREFIX}"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith(f"-A {PREFIX}"):
            chains.setdefault(line.split()[1], []).append(line)
        elif line.startswith("-A ") and _leads_to_us(line):
            jumps.append(line)
        elif line.startswith("COMMIT") and (jumps or chains):
            tables[name] = Found(tuple(jumps), {chain: tuple(rules) for chain, rules in chains.items()})
    return tables


def _leads_to_us(rule: str) -> bool:
    words = shlex.split(rule)
    return any(word in {"-j", "-g"} and target.startswith(PREFIX) for word, target in pairwise(words))


def change(there: Mapping[str, Found], wanted: Iterable[Table]) -> str:
    """The text that makes `wanted`, the tables of one family, of what is there; empty if nothing has to be done.

    Tables of ours that are not wanted go: without `wanted` everything of ours does.
    """
    by_name = {table.name: table for table in wanted}
    unwanted = [name for name in there if name not in by_name]
    texts = [_replace(there.get(name, Found()), table) for name, table in by_name.items()]
    texts += [_remove(name, there[name]) for name in unwanted]
    return "".join(texts)


def _replace(there: Found, table: Table) -> str:
    chains = {chain.name: chain.lines() for chain in table.chains}
    if there.jumps == table.jumps and dict(there.chains) == chains:
        return ""
    stale = [name for name in there.chains if name not in chains]
    # A jump that stands there twice is taken away once.
    superfluous = list((Counter(there.jumps) - Counter(table.jumps)).elements())
    missing = [jump for jump in table.jumps if jump not in there.jumps]
    if not (superfluous or missing) and there.jumps != table.jumps:
        superfluous, missing = list(there.jumps), list(table.jumps)  # in another order
    lines = [f"*{table.name}", *(f":{name} - {EMPTY}" for name in chains)]
    lines += [_deletion(jump) for jump in superfluous]
    lines += [f"-F {name}" for name in stale]
    lines += [line for rules in chains.values() for line in rules]
    lines += [f"-X {name}" for name in stale]
    return _text([*lines, *missing])


def _remove(name: str, there: Found) -> str:
    lines = [f"*{name}", *map(_deletion, there.jumps)]
    # All are emptied before the first goes: they refer to each other.
    lines += [f"-F {chain}" for chain in there.chains]
    lines += [f"-X {chain}" for chain in there.chains]
    return _text(lines)


def _deletion(rule: str) -> str:
    return f"-D {rule.removeprefix('-A ')}"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in (*lines, "COMMIT"))
