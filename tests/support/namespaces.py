"""Hosts for tests: two network namespaces joined by a cable, each with an address of IPv4 and of IPv6. Needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import binaries

NEEDS_ROOT = "network namespaces need root: run the tests as root (in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN)"
RESOLVERS = Path("/etc/netns")
"""`ip netns exec` shows a program the files in `<here>/<namespace>/` in place of those in /etc: ip-netns(8)."""


def is_root() -> bool:
    return os.geteuid() == 0


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace. `ipv4` and `ipv6` are its addresses, without length."""

    namespace: str
    ipv4: str
    ipv6: str

    def command(self, *command: str, user: int | None = None) -> tuple[str, ...]:
        """`command` on this host, as `user` (and the group of that number), root if unset. It is one process, no child.

        A user of tests may use what root's tests left for it (binary, configuration, sockets): it keeps CAP_DAC_OVERRIDE.
        """
        become: tuple[str, ...] = ()
        if user is not None:
            right = "-all,+dac_override"
            become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
            become += (f"--inh-caps={right}", f"--ambient-caps={right}", f"--bounding-set={right}")
        return ("ip", "netns", "exec", self.namespace, *become, *command)

    def run(self, *command: str, user: int | None = None, path: str | None = None) -> str:
        """What `command` writes to its standard output; AssertionError with all that it said if it fails."""
        ran = self.attempt(*command, user=user, path=path)
        assert ran.returncode == 0, f"{command}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def attempt(
        self, *command: str, user: int | None = None, path: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same, but failing is allowed. `path` goes before the PATH."""
        env = dict(os.environ)
        if path is not None:
            env["PATH"] = f"{path}:{env['PATH']}"
        return subprocess.run(
            self.command(*command, user=user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=env,
        )

    def meshwright(self, *arguments: str, path: str | None = None) -> str:
        return self.run(sys.executable, "-m", "meshwright", *arguments, path=path)


@contextlib.contextmanager
def two_hosts(resolver: str | None = None) -> Iterator[tuple[Host, Host]]:
    """Two hosts that reach each other, each by way of the other when an address is neither's; gone with all that runs in them.

    `resolver` is the server of names that their programs ask.
    """
    subprocess.run([str(binaries.ROOT / "scripts" / "install" / "network.sh")], check=True)
    with contextlib.ExitStack() as stack:
        hosts = tuple(
            stack.enter_context(_host(f"meshwright-{os.getpid()}-{name}", number, resolver))
            for number, name in enumerate("ab", start=1)
        )
        first, second = hosts
        _ip(
            "-n",
            first.namespace,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            second.namespace,
        )
        for host, other in ((first, second), (second, first)):
            _ip("-n", host.namespace, "address", "add", f"{host.ipv4}/24", "dev", "eth0")
            # Without duplicate address detection the address can be used at once.
            _ip("-n", host.namespace, "address", "add", f"{host.ipv6}/64", "dev", "eth0", "nodad")
            _ip("-n", host.namespace, "link", "set", "eth0", "up")
            _ip("-n", host.namespace, "route", "add", "default", "via", other.ipv4)
            _ip("-n", host.namespace, "-6", "route", "add", "default", "via", other.ipv6)
        yield first, second


@contextlib.contextmanager
def _host(namespace: str, number: int, resolver: str | None) -> Iterator[Host]:
    files = RESOLVERS / namespace
    _ip("netns", "add", namespace)
    try:
        _ip("-n", namespace, "link", "set", "lo", "up")
        if resolver is not None:
            files.mkdir(parents=True)
            (files / "resolv.conf").write_text(f"nameserver {resolver}\noptions timeout:2 attempts:1\n")
        yield Host(namespace, f"10.77.0.{number}", f"fd77::{number}")
    finally:
        _ip("netns", "delete", namespace)
        shutil.rmtree(files, ignore_errors=True)
        with contextlib.suppress(OSError):  # another test's host still uses it, or it was never there
            RESOLVERS.rmdir()


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True)
