from __future__ import annotations

from pathlib import Path

import pytest

from agent.intercept import apply
from agent.intercept.apply import Command, Host, commands
from agent.intercept.changes import found
from agent.intercept.errors import CommandFailed, NotPrivileged, ProgramMissing, TableMissing
from agent.intercept.options import InterceptOptions
from agent.intercept.rules import Family, rules

ADD = ("ip", "-6", "address", "add", "::6/128", "dev", "lo")
DELETE = ("ip", "-6", "address", "delete", "::6/128", "dev", "lo")
RESTORE = ("--noflush", "--wait", "10")


def proc(folder: Path, *, capabilities: int = 1 << 12, ipv6: str = "0", passthrough: bool = False) -> Path:
    """What /proc says of a host."""
    (folder / "self").mkdir()
    (folder / "self" / "status").write_text(f"Name:\tx\nCapPrm:\t00\nCapEff:\t{capabilities:016x}\n")
    switch = folder / "sys" / "net" / "ipv6" / "conf" / "lo" / "disable_ipv6"
    switch.parent.mkdir(parents=True)
    switch.write_text(f"{ipv6}\n")
    (folder / "net").mkdir()
    lines = ["00000000000000000000000000000001 01 80 10 80       lo"]
    lines += ["00000000000000000000000000000006 01 80 10 80       lo"] if passthrough else []
    (folder / "net" / "if_inet6").write_text("\n".join(lines) + "\n")
    return folder


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Fault: programs that fail as real ones do on kernels that this one is not. `_` in a name stands for `-`."""
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def installed(options: InterceptOptions) -> dict[Family, str]:
    """What iptables-save says once `options` are carried out."""
    saved = {}
    for family in Family:
        lines = []
        for table in (each for each in rules(options) if each.family is family):
            lines += [f"*{table.name}", *(f":{chain.name} - [0:0]" for chain in table.chains)]
            lines += [*table.jumps, *(line for chain in table.chains for line in chain.lines()), "COMMIT"]
        saved[family] = "\n".join(lines)
    return saved


def test_a_host_with_nothing_of_ours_gets_the_address_first() -> None:
    made = commands(apply.unknown(), InterceptOptions(1))
    assert [each.arguments for each in made] == [
        ADD,
        ("iptables-restore", *RESTORE),
        ("ip6tables-restore", *RESTORE),
    ]
    assert made[1].stdin.startswith("*nat\n:MESHWRIGHT_INBOUND - [0:0]\n")


def test_carrying_out_the_same_again_is_nothing() -> None:
    options = InterceptOptions(1, dns_port=53)
    assert commands(Host(installed(options), passthrough=True), options) == ()


def test_removing_takes_away_the_address_last() -> None:
    host = Host(installed(InterceptOptions(1, dns_port=53)), passthrough=True)
    made = commands(host, None)
    assert [each.arguments[0] for each in made] == ["iptables-restore", "ip6tables-restore", "ip"]
    assert made[-1].arguments == DELETE
    assert all("REDIRECT" not in each.stdin for each in made)
    assert commands(apply.unknown(), None) == ()


def test_ipv6_that_is_no_longer_wanted_goes() -> None:
    host = Host(installed(InterceptOptions(1)), passthrough=True)
    made = commands(host, InterceptOptions(1, ipv6=False))
    assert [each.arguments for each in made] == [("ip6tables-restore", *RESTORE), DELETE]
    assert found(made[0].stdin.replace("-D", "-A").replace("-F", "-A"))


def test_without_inbound_no_address_is_needed() -> None:
    assert [
        each.arguments[0] for each in commands(apply.unknown(), InterceptOptions(1, inbound_port=None))
    ] == [
        "iptables-restore",
        "ip6tables-restore",
    ]


def test_a_command_as_lines_for_a_shell() -> None:
    assert Command(("ip", "a b")).shell() == "ip 'a b'\n"
    assert Command(("cat",), "x\n").shell() == "cat <<'EOF'\nx\nEOF\n"


def test_what_the_host_says_of_itself(tmp_path: Path) -> None:
    here = proc(tmp_path)
    assert apply.privileged(here)
    assert apply.knows_ipv6(here)
    assert apply.uses_ipv6(here)
    (here / "sys" / "net" / "ipv6" / "conf" / "lo" / "disable_ipv6").write_text("1\n")
    assert not apply.uses_ipv6(here)
    assert not apply.uses_ipv6(here / "elsewhere")
    assert not apply.knows_ipv6(here / "elsewhere")


def test_without_the_right_nothing_is_asked(tmp_path: Path) -> None:
    with pytest.raises(NotPrivileged, match="run this as root"):
        apply.read(None, proc(tmp_path, capabilities=~(1 << 12) & (2**40 - 1)))


def test_a_host_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = proc(tmp_path, passthrough=True)
    programs(tmp_path, monkeypatch, iptables_save="echo four", ip6tables_save="echo six")
    assert apply.read(None, here) == Host({Family.IPV4: "four\n", Family.IPV6: "six\n"}, passthrough=True)


def test_a_host_without_ip6tables_is_read_if_ipv6_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = proc(tmp_path)
    programs(tmp_path, monkeypatch, iptables_save="echo four")
    assert apply.read(InterceptOptions(1, ipv6=False), here) == Host({Family.IPV4: "four\n"})
    with pytest.raises(ProgramMissing, match="ip6tables-save"):
        apply.read(InterceptOptions(1), here)


@pytest.mark.parametrize(
    "said",
    [
        "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'",
        "iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist (do you need to insmod?)",
        "iptables-restore: line 9: RULE_APPEND failed (No such file or directory): rule in chain OUTPUT",
        "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Operation not supported",
    ],
)
def test_a_kernel_without_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    message = said.replace("`", "\\`")
    programs(tmp_path, monkeypatch, ip6tables_restore=f'echo "{message}" >&2; exit 2')
    with pytest.raises(TableMissing, match="for IPv6: load its modules") as raised:
        apply.run([Command(("ip6tables-restore",), "x")])
    assert said in str(raised.value)
    assert "--no-ipv6" in str(raised.value)


def test_a_failure_says_what_was_done_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(
        tmp_path, monkeypatch, iptables_restore="exit 0", ip6tables_restore="echo wrong line >&2; exit 2"
    )
    with pytest.raises(CommandFailed, match=r"wrong line\. Done before that: iptables-restore\. .*--remove"):
        apply.run([Command(("iptables-restore",)), Command(("ip6tables-restore",))])


def test_nothing_is_run_if_a_program_of_a_later_step_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path, monkeypatch, iptables_restore=f"echo > {tmp_path}/ran")
    with pytest.raises(ProgramMissing, match="apt-get install iproute2"):
        apply.run([Command(("iptables-restore",)), Command(("ip",))])
    assert not (tmp_path / "ran").exists()
