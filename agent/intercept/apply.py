"""The only I/O of interception: reads the rules that are there and runs the programs that change them.

Everything concerns the network namespace of this process.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.intercept.changes import change, found
from agent.intercept.errors import CommandFailed, NotPrivileged, ProgramMissing, TableMissing
from agent.intercept.options import InterceptOptions
from agent.intercept.rules import Family, Table, rules
from envoy.environment import without_own

PROC = Path("/proc")
WAIT = 10
"""Seconds to wait for another program that is changing rules (the lock of legacy iptables)."""

NET_ADMIN = 12
"""The bit of CAP_NET_ADMIN: capabilities(7), linux/capability.h."""

LACKING = (
    "initialize table",  # legacy, iptables-restore
    "can't initialize",  # legacy, iptables
    "not supported",  # nf_tables: the kernel lacks it or the table
    "No such file or directory",  # nf_tables: a match or a target that the kernel lacks
)
"""What the programs say, among other words, when the kernel lacks something."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its arguments and its standard input."""

    arguments: tuple[str, ...]
    stdin: str = ""

    def shell(self) -> str:
        """The same as lines for a shell."""
        line = shlex.join(self.arguments)
        return f"{line} <<'EOF'\n{self.stdin}EOF\n" if self.stdin else f"{line}\n"


@dataclass(frozen=True, slots=True)
class Host:
    """What this network namespace holds. `saved` is the output of iptables-save by family."""

    saved: Mapping[Family, str]
    passthrough: bool = False
    """Whether ::6, which an inbound connection over IPv6 comes from, is an address of lo."""


def commands(host: Host, options: InterceptOptions | None) -> tuple[Command, ...]:
    """What makes of `host` what `options` ask for, in order; without options nothing of ours is left. Empty if it is so."""
    wanted = rules(options) if options is not None else ()
    made: list[Command] = []
    address = options is not None and options.ipv6 and options.inbound_port is not None
    # The address is there before the first connection needs it, and goes after the last.
    if address and not host.passthrough:
        made.append(_address("add"))
    for family, saved in host.saved.items():
        text = change(found(saved), _of(family, wanted))
        if text:
            made.append(Command((_program(family, "restore"), "--noflush", "--wait", str(WAIT)), text))
    if host.passthrough and not address:
        made.append(_address("delete"))
    return tuple(made)


def _of(family: Family, tables: Iterable[Table]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table.family is family)


def _address(verb: str) -> Command:
    return Command(("ip", "-6", "address", verb, f"{Family.IPV6.passthrough}/128", "dev", "lo"))


def _program(family: Family, verb: str) -> str:
    return f"ip{'6' if family is Family.IPV6 else ''}tables-{verb}"


def privileged(proc: Path = PROC) -> bool:
    """Whether this process may change the network (CAP_NET_ADMIN)."""
    for line in (proc / "self" / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> NET_ADMIN & 1)
    return False


def knows_ipv6(proc: Path = PROC) -> bool:
    """Whether the kernel knows IPv6."""
    return (proc / "sys" / "net" / "ipv6").exists()


def uses_ipv6(proc: Path = PROC) -> bool:
    """Whether IPv6 is switched on for lo, through which everything intercepted goes."""
    switch = proc / "sys" / "net" / "ipv6" / "conf" / "lo" / "disable_ipv6"
    return switch.exists() and switch.read_text().strip() == "0"


def unknown() -> Host:
    """A host that has no rules at all, as far as anybody knows."""
    return Host(dict.fromkeys(Family, ""))


def read(options: InterceptOptions | None, proc: Path = PROC) -> Host:
    """What is there now. NotPrivileged, ProgramMissing, TableMissing or CommandFailed if it cannot be read.

    IPv6 is looked at even if `options` leave it out: rules of an earlier run may have to go.
    """
    if not privileged(proc):
        raise NotPrivileged(
            "rules of the network can be read and changed with CAP_NET_ADMIN only: run this as root, for example with sudo"
        )
    families = [Family.IPV4]
    program = _program(Family.IPV6, "save")
    if (options is not None and options.ipv6) or (knows_ipv6(proc) and shutil.which(program)):
        families.append(Family.IPV6)
    for family in families:
        _need(_program(family, "save"), "iptables")
    saved = {family: _run(Command((_program(family, "save"),))) for family in families}
    return Host(saved, passthrough=_has_passthrough(proc))


def _has_passthrough(proc: Path) -> bool:
    path = proc / "net" / "if_inet6"
    if not path.exists():  # a kernel without IPv6
        return False
    wanted = Family.IPV6.passthrough.packed.hex()
    entries = (line.split() for line in path.read_text().splitlines())
    return any(entry[0] == wanted and entry[-1] == "lo" for entry in entries)


def run(steps: Iterable[Command]) -> None:
    """Run `steps` one after the other. The first that fails ends it, with an error that says which were done before."""
    steps = tuple(steps)
    for step in steps:
        _need(step.arguments[0], "iproute2" if step.arguments[0] == "ip" else "iptables")
    done: list[str] = []
    for step in steps:
        try:
            _run(step)
        except (TableMissing, CommandFailed) as error:
            if not done:
                raise
            before = ", ".join(done)
            raise type(error)(
                f"{error}. Done before that: {before}. Run this again when it is mended, or `meshwright intercept --remove`"
            ) from error
        done.append(step.arguments[0])


def _need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        raise ProgramMissing(
            f"there is no program {program} on the PATH: install {package} (Debian: apt-get install {package})"
        )


def _run(command: Command) -> str:
    program = command.arguments[0]
    ran = subprocess.run(
        command.arguments,
        input=command.stdin,
        capture_output=True,
        text=True,
        check=False,
        env=without_own(os.environ),
    )
    if ran.returncode == 0:
        return ran.stdout
    said = " ".join(ran.stderr.split()) or f"exit code {ran.returncode}"
    if any(sign in said for sign in LACKING):
        family = "IPv6" if program.startswith("ip6") else "IPv4"
        raise TableMissing(
            f"{program} says: {said}. The kernel lacks a table, a match or a target that this needs for {family}: load its"
            " modules (nf_nat, xt_REDIRECT, xt_owner, xt_addrtype, xt_CT; legacy iptables also"
            f" {'ip6table_nat, ip6table_raw' if family == 'IPv6' else 'iptable_nat, iptable_raw'})"
            + (", or leave IPv6 out with --no-ipv6" if family == "IPv6" else "")
        )
    raise CommandFailed(f"{shlex.join(command.arguments)} failed: {said}")
