"""`meshwright intercept`, for real: two hosts, an Envoy on each, applications that know nothing of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.intercepting import APP, ENVOY, Sidecar, application, call, sidecar
from tests.support.namespaces import NEEDS_ROOT, Host, is_root, two_hosts

pytestmark = pytest.mark.skipif(not is_root(), reason=NEEDS_ROOT)

VIRTUAL = "240.1.2.3"
ITSELF = "240.1.2.4"
"""Addresses of services that no host has: one stands for host b, one for host a."""

RESOLVER = "10.77.0.53"
"""The server of names that the hosts are told to ask. There is none."""

ASKS = """
import socket, sys

family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as asking:
    asking.bind(("", 40053))
    asking.settimeout(3)
    asking.connect((sys.argv[1], 53))
    asking.send(bytes.fromhex("beef01000001000000000000") + b"\\3api\\4mesh\\0\\0\\1\\0\\1")
    try:
        asking.recv(512)
        print("answered")
    except ConnectionRefusedError:
        print("refused")
"""
"""Asks a server for a name, always from the same port."""

COUNTERS = re.compile(r"\[\d+:\d+]$")

OPTIONS = ("intercept", "--proxy-user", str(ENVOY))


@dataclass(frozen=True, slots=True)
class Pair:
    """Host a calls, host b is called; applications listen on 8080 and, on b, 8081."""

    a: Host
    b: Host
    proxy_a: Sidecar
    proxy_b: Sidecar

    async def seen(self) -> tuple[dict[str, int], dict[str, int]]:
        return await self.proxy_a.seen(), await self.proxy_b.seen()


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts(RESOLVER) as made:
        yield made


@pytest.fixture
async def pair(hosts: tuple[Host, Host], tmp_path: Path) -> AsyncIterator[Pair]:
    a, b = hosts
    async with contextlib.AsyncExitStack() as stack:
        for host, port in ((a, 8080), (b, 8080), (b, 8081)):
            await stack.enter_async_context(application(tmp_path, host, port))
        proxy_a = await stack.enter_async_context(
            sidecar(tmp_path, a, {VIRTUAL: b.ipv4, ITSELF: a.ipv4}, {"api.mesh": VIRTUAL})
        )
        proxy_b = await stack.enter_async_context(sidecar(tmp_path, b))
        yield Pair(a, b, proxy_a, proxy_b)


async def test_connections_of_an_unchanged_application_pass_both_sidecars(pair: Pair) -> None:
    a, b = pair.a, pair.b
    assert call(a, f"http://{b.ipv4}:8080/") == {"peer": a.ipv4, "here": b.ipv4}
    assert await pair.seen() == (_seen(), _seen())

    for host in (a, b):
        assert "IPv4 and IPv6" in host.meshwright(*OPTIONS)

    assert call(a, f"http://{b.ipv4}:8080/") == {"peer": "127.0.0.6", "here": b.ipv4}
    assert await pair.seen() == (_seen(outbound=1), _seen(inbound=1))
    assert call(a, f"http://[{b.ipv6}]:8080/") == {"peer": "::6", "here": b.ipv6}
    assert await pair.seen() == (_seen(outbound=2), _seen(inbound=2))
    # An address that no host has, as the mesh gives to a service.
    assert call(a, f"http://{VIRTUAL}:8080/") == {"peer": "127.0.0.6", "here": b.ipv4}
    assert await pair.seen() == (_seen(outbound=2, virtual=1), _seen(inbound=3))


async def test_what_stays_on_the_host_is_left_alone_but_calls_of_the_sidecar_to_its_own_host(
    pair: Pair,
) -> None:
    a = pair.a
    a.meshwright(*OPTIONS)
    for url in (
        "http://127.0.0.1:8080/",
        "http://[::1]:8080/",
        f"http://{a.ipv4}:8080/",
        f"http://[{a.ipv6}]:8080/",
    ):
        here = url.removeprefix("http://").removesuffix(":8080/").strip("[]")
        assert call(a, url) == {"peer": here, "here": here}
    assert await pair.proxy_a.seen() == _seen()

    # A service that this host itself serves: its traffic comes in as anybody's, where mutual TLS is looked at.
    assert call(a, f"http://{ITSELF}:8080/") == {"peer": "127.0.0.6", "here": a.ipv4}
    assert await pair.proxy_a.seen() == _seen(virtual=1, inbound=1)


async def test_excluded_ports_addresses_and_users_bypass_the_sidecar(pair: Pair) -> None:
    a, b = pair.a, pair.b
    direct = {"peer": a.ipv4, "here": b.ipv4}
    b.meshwright(*OPTIONS, "--pass-inbound-port", "8081")
    a.meshwright(*OPTIONS, "--exclude-outbound-port", "8081")
    assert call(a, f"http://{b.ipv4}:8081/") == direct
    assert call(a, f"http://[{b.ipv6}]:8081/") == {"peer": a.ipv6, "here": b.ipv6}
    assert await pair.seen() == (_seen(), _seen())
    call(a, f"http://{b.ipv4}:8080/")
    assert await pair.seen() == (_seen(outbound=1), _seen(inbound=1))

    other = 61500
    ways = (
        ("--exclude-user", str(other)),
        ("--exclude-group", str(other)),
        ("--exclude-outbound-cidr", "10.77.0.0/24"),
        ("--include-outbound-cidr", "240.0.0.0/4"),
        ("--no-outbound",),
    )
    for way in ways:
        a.meshwright(*OPTIONS, *way)
        call(a, f"http://{b.ipv4}:8080/", user=other)
    assert (await pair.proxy_a.seen()) == _seen(outbound=1)
    call(a, f"http://{b.ipv4}:8081/", user=ENVOY)
    assert (await pair.proxy_a.seen()) == _seen(outbound=1)

    before = await pair.proxy_b.seen()
    for way in (("--exclude-inbound-cidr", "10.77.0.1"), ("--include-inbound-port", "9"), ("--no-inbound",)):
        b.meshwright(*OPTIONS, *way)
        assert call(a, f"http://{b.ipv4}:8080/") == direct
    assert await pair.proxy_b.seen() == before
    b.meshwright(*OPTIONS, "--include-inbound-port", "8080")
    assert call(a, f"http://{b.ipv4}:8080/")["peer"] == "127.0.0.6"
    assert call(a, f"http://{b.ipv4}:8081/") == direct


async def test_names_are_answered_by_the_sidecar(pair: Pair) -> None:
    a, b = pair.a, pair.b
    a.meshwright(*OPTIONS, "--dns")
    assert call(a, "http://api.mesh:8080/") == {"peer": a.ipv4, "here": b.ipv4}
    seen = await pair.proxy_a.seen()
    assert seen["names"] >= 1, "asked by UDP"
    assert seen["virtual"] == 1
    asks = f"import socket; socket.create_connection(('{RESOLVER}', 53), 2).close()"
    a.run(sys.executable, "-c", asks, user=APP)
    assert (await pair.proxy_a.seen())["names_tcp"] == 1

    # Other servers than the one that is named are not concerned.
    a.meshwright(*OPTIONS, "--dns", "--dns-server", "10.77.0.54")
    failed = a.attempt("curl", "--silent", "--max-time", "5", "http://api.mesh:8080/", user=APP)
    assert failed.returncode in {6, 28}, "the name is not resolved"
    a.meshwright(*OPTIONS, "--dns", "--dns-server", RESOLVER)
    assert call(a, "http://api.mesh:8080/")["here"] == b.ipv4


async def test_a_query_of_the_sidecar_is_not_taken_for_that_of_an_application_which_had_its_port(
    pair: Pair,
) -> None:
    pair.a.meshwright(*OPTIONS, "--dns")
    # For half a minute the kernel goes on translating what comes from the application's port, unless that is told apart.
    for number, server in enumerate((pair.b.ipv4, pair.b.ipv6), start=1):
        assert pair.a.run(sys.executable, "-c", ASKS, server, user=APP) == "answered\n"
        assert (await pair.proxy_a.seen())["names"] == number
        assert pair.a.run(sys.executable, "-c", ASKS, server, user=ENVOY) == "refused\n"
        assert (await pair.proxy_a.seen())["names"] == number


async def test_no_connection_slips_by_while_rules_are_replaced(pair: Pair) -> None:
    a, b = pair.a, pair.b
    for host in (a, b):
        host.meshwright(*OPTIONS)
    done = asyncio.Event()

    async def callers() -> list[str]:
        peers = []
        while not done.is_set():
            peers.append((await asyncio.to_thread(call, a, f"http://{b.ipv4}:8080/"))["peer"])
        return peers

    calling = asyncio.create_task(callers())
    try:
        for number in range(4):
            option = ("--exclude-inbound-port", str(9000 + number))
            await asyncio.to_thread(b.meshwright, *OPTIONS, *option)
    finally:
        done.set()
        peers = await calling
    assert len(peers) > 4
    assert set(peers) == {"127.0.0.6"}


async def test_the_ports_of_the_sidecar_themselves_do_not_loop(pair: Pair) -> None:
    pair.b.meshwright(*OPTIONS)
    failed = pair.a.attempt("curl", "--silent", "--max-time", "5", f"http://{pair.b.ipv4}:15006/")
    assert failed.returncode in {52, 56}, "closed without an answer"
    assert await pair.proxy_b.seen() == _seen(refused=1)


async def test_what_a_host_only_routes_for_others_is_not_for_its_sidecar(pair: Pair) -> None:
    a, b = pair.a, pair.b
    b.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    b.meshwright(*OPTIONS)
    failed = a.attempt("curl", "--silent", "--max-time", "1", f"http://{VIRTUAL}:8080/", user=APP)
    assert failed.returncode in {7, 28}, "nobody is there"
    assert await pair.proxy_b.seen() == _seen()


def test_removing_leaves_what_was_there_before_to_the_byte(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    host, _ = hosts
    for path in _variants(host, tmp_path):
        for family, address in (("ip", "198.51.100.7/32"), ("ip6", "2001:db8::7/128")):
            program = f"{family}tables"
            for command in (
                f"-t nat -A OUTPUT -d {address} -p tcp -j REDIRECT --to-ports 99",
                "-t nat -N SOMEBODY",
                "-t nat -A PREROUTING -p tcp -j SOMEBODY",
                "-t raw -A PREROUTING -i eth9 -j NOTRACK",
                "-t filter -A INPUT -i eth9 -j DROP",
            ):
                host.run(program, *command.split(), path=path)
        before = _state(host, path)

        assert host.meshwright(*OPTIONS, "--dns", path=path).endswith(": done\n")
        once = _state(host, path)
        assert once != before
        assert once.count("-j MESHWRIGHT_OUTPUT") == 4
        assert "inet6 ::6/128" in once

        assert "nothing was changed" in host.meshwright(*OPTIONS, "--dns", path=path)
        assert _state(host, path) == once

        host.meshwright(*OPTIONS, "--no-inbound", "--no-ipv6", path=path)
        other = _state(host, path)
        assert "MESHWRIGHT_DNS" not in other
        assert "15006" not in other
        assert "::6/128" not in other
        assert other.count("-j MESHWRIGHT_OUTPUT") == 1

        host.meshwright(*OPTIONS, "--dns", path=path)
        assert _normal(_state(host, path)) == _normal(once)
        # Somebody's mistake: the same jump twice.
        host.run("iptables", "-t", "nat", "-I", "OUTPUT", "-p", "tcp", "-j", "MESHWRIGHT_OUTPUT", path=path)
        host.meshwright(*OPTIONS, "--dns", path=path)
        assert _normal(_state(host, path)) == _normal(once)

        assert host.meshwright("intercept", "--remove", path=path) == "nothing is intercepted: done\n"
        assert _state(host, path) == before
        assert "nothing was changed" in host.meshwright("intercept", "--remove", path=path)


def test_a_dry_run_changes_nothing_and_prints_what_would_be_run(hosts: tuple[Host, Host]) -> None:
    host, other = hosts
    before = _state(host, None)
    script = host.meshwright(*OPTIONS, "--dns", "--dry-run")
    assert _state(host, None) == before
    host.run("sh", "-e", "-c", script)
    other.meshwright(*OPTIONS, "--dns")
    here, there = (_rules(each) for each in hosts)
    assert here == there
    assert host.meshwright(*OPTIONS, "--dns", "--dry-run") == "# Nothing has to be changed.\n"
    host.run("sh", "-e", "-c", host.meshwright("intercept", "--remove", "--dry-run"))
    assert "MESHWRIGHT" not in _state(host, None)


def test_what_is_missing_is_said(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    host, _ = hosts
    command = (sys.executable, "-m", "meshwright", *OPTIONS)

    ran = host.attempt(*command, user=APP)  # with one capability, and that not CAP_NET_ADMIN
    assert (ran.returncode, ran.stdout) == (9, "")
    assert "CAP_NET_ADMIN" in ran.stderr
    assert "run this as root" in ran.stderr
    dry = host.attempt(*command, "--dry-run", user=APP)
    assert dry.returncode == 0
    assert dry.stdout.startswith("# The rules that are there can be read by root only")

    ran = subprocess.run(
        (*command,), capture_output=True, text=True, check=False, env={**os.environ, "PATH": str(tmp_path)}
    )
    assert ran.returncode == 10
    assert "apt-get install iptables" in ran.stderr


def _variants(host: Host, folder: Path) -> list[str]:
    """A folder for each implementation of iptables that this kernel bears, with its programs under their plain names."""
    folders = []
    for variant in ("nft", "legacy"):
        path = folder / variant
        path.mkdir()
        for family in ("ip", "ip6"):
            for verb in ("", "-save", "-restore"):
                real = Path("/usr/sbin") / f"{family}tables-{variant}{verb}"
                if real.exists():
                    (path / f"{family}tables{verb}").symlink_to(real)
        usable = (path / "iptables").exists() and all(
            host.attempt("iptables", "-t", table, "-S", path=str(path)).returncode == 0
            for table in ("nat", "raw")
        )
        if usable:
            folders.append(str(path))
    assert folders, "no iptables that works"
    return folders


def _state(host: Host, path: str | None) -> str:
    """All rules of both families, and the addresses of lo, without the time and the packets that passed meanwhile."""
    saved = host.run("iptables-save", path=path) + host.run("ip6tables-save", path=path)
    lines = [COUNTERS.sub("", line) for line in saved.splitlines() if not line.startswith("#")]
    return "\n".join([*lines, host.run("ip", "-6", "address", "show", "dev", "lo")])


def _normal(state: str) -> list[str]:
    """Chains may be told in another order, which means nothing; the rules of a chain stay in theirs."""
    lines = state.splitlines()
    chains = sorted({line.split()[1] for line in lines if line.startswith("-A ")})
    rules = [line for chain in chains for line in lines if line.startswith(f"-A {chain} ")]
    return rules + sorted(line for line in lines if not line.startswith("-A "))


def _rules(host: Host) -> list[str]:
    return _normal(_state(host, None))


def _seen(**ways: int) -> dict[str, int]:
    return {
        way: ways.get(way, 0) for way in ("outbound", "inbound", "virtual", "names", "names_tcp", "refused")
    }
