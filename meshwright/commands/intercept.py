"""`meshwright intercept`."""

from __future__ import annotations

import grp
import pwd
import sys
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Annotated

import typer

from agent.intercept import apply
from agent.intercept.errors import BadInterception, InterceptError
from agent.intercept.options import (
    DNS_PORT,
    INBOUND_PORT,
    OUTBOUND_PORT,
    Address,
    InterceptOptions,
    Network,
)


def intercept(
    proxy_user: Annotated[
        str | None,
        typer.Option(
            envvar="MESHWRIGHT_PROXY_USER",
            help="The user, name or id, that `meshwright proxy` and its Envoy run as: never intercepted.",
        ),
    ] = None,
    outbound: Annotated[
        bool, typer.Option(help="Whether connections from this host are intercepted.")
    ] = True,
    outbound_port: Annotated[int, typer.Option(help="The sidecar's port for them.")] = OUTBOUND_PORT,
    inbound: Annotated[bool, typer.Option(help="Whether connections to this host are intercepted.")] = True,
    inbound_port: Annotated[int, typer.Option(help="The sidecar's port for them.")] = INBOUND_PORT,
    dns: Annotated[bool, typer.Option("--dns", help="Intercept queries for names, too (port 53).")] = False,
    dns_port: Annotated[int, typer.Option(help="The sidecar's port for them, UDP and TCP.")] = DNS_PORT,
    dns_server: Annotated[
        list[str] | None,
        typer.Option(help="Intercept queries to this server only, for example 127.0.0.53; repeatable."),
    ] = None,
    exclude_outbound_port: Annotated[
        list[int] | None, typer.Option(help="Leave connections to this port alone; repeatable.")
    ] = None,
    exclude_outbound_cidr: Annotated[
        list[str] | None, typer.Option(help="Leave connections to these addresses alone; repeatable.")
    ] = None,
    include_outbound_cidr: Annotated[
        list[str] | None,
        typer.Option(help="Intercept connections to these addresses only, as 240.0.0.0/4; repeatable."),
    ] = None,
    exclude_inbound_port: Annotated[
        list[int] | None,
        typer.Option(
            "--exclude-inbound-port",
            "--pass-inbound-port",
            help="Leave connections to this port of this host alone, as for health checks; repeatable.",
        ),
    ] = None,
    exclude_inbound_cidr: Annotated[
        list[str] | None, typer.Option(help="Leave connections from these addresses alone; repeatable.")
    ] = None,
    include_inbound_port: Annotated[
        list[int] | None,
        typer.Option(help="Intercept connections to this port only; repeatable. All but SSH (22) if unset."),
    ] = None,
    exclude_user: Annotated[
        list[str] | None, typer.Option(help="Leave what this user (name or id) sends alone; repeatable.")
    ] = None,
    exclude_group: Annotated[
        list[str] | None, typer.Option(help="Leave what this group (name or id) sends alone; repeatable.")
    ] = None,
    ipv6: Annotated[
        bool | None, typer.Option(help="Whether IPv6 is intercepted; if it is switched on, when unset.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take all rules of Meshwright away.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would be run, as lines for a shell, and run nothing."),
    ] = False,
) -> None:
    """Have the kernel hand this host's TCP connections to the sidecar, or end that. Needs root; see docs/interception.md.

    Concerns the network namespace that it runs in. Running it again with the same options changes nothing, with others replaces
    the rules in one step. Connections that are open stay as they are.
    """
    try:
        options = None
        if not remove:
            if proxy_user is None:
                raise BadInterception(
                    "whose traffic is the sidecar's own? Give --proxy-user, the user that `meshwright proxy` runs as:"
                    " without that Envoy's connections would come back to it for ever"
                )
            options = InterceptOptions(
                proxy_user=_user(proxy_user),
                outbound_port=outbound_port if outbound else None,
                inbound_port=inbound_port if inbound else None,
                dns_port=dns_port if dns else None,
                dns_servers=tuple(_address(each) for each in dns_server or ()),
                exclude_outbound_ports=tuple(exclude_outbound_port or ()),
                exclude_outbound_networks=_networks(exclude_outbound_cidr),
                include_outbound_networks=_networks(include_outbound_cidr),
                exclude_inbound_ports=tuple(exclude_inbound_port or ()),
                exclude_inbound_networks=_networks(exclude_inbound_cidr),
                include_inbound_ports=tuple(include_inbound_port or ()),
                exclude_users=tuple(_user(each) for each in exclude_user or ()),
                exclude_groups=tuple(_group(each) for each in exclude_group or ()),
                ipv6=apply.uses_ipv6() if ipv6 is None else ipv6,
            )
        _carry_out(options, dry_run=dry_run)
    except InterceptError as error:
        typer.echo(f"meshwright: {error}", err=True)
        sys.exit(error.exit_code)


def _carry_out(options: InterceptOptions | None, *, dry_run: bool) -> None:
    if dry_run and not apply.privileged():
        typer.echo(
            "# The rules that are there can be read by root only: these are for a host that has none of ours."
        )
        host = apply.unknown()
    else:
        host = apply.read(options)
    steps = apply.commands(host, options)
    if dry_run:
        typer.echo("".join(step.shell() for step in steps) or "# Nothing has to be changed.\n", nl=False)
        return
    apply.run(steps)
    typer.echo(f"{_summary(options)}: {'done' if steps else 'it was so, nothing was changed'}")


def _summary(options: InterceptOptions | None) -> str:
    if options is None:
        return "nothing is intercepted"
    ways = (
        ("outbound", options.outbound_port),
        ("inbound", options.inbound_port),
        ("names", options.dns_port),
    )
    to = ", ".join(f"{way} to {port}" for way, port in ways if port is not None)
    return f"intercepted, {'IPv4 and IPv6' if options.ipv6 else 'IPv4'}: {to}"


def _user(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid
    except KeyError:
        raise BadInterception(f"there is no user {text!r} on this host: give a user's name or id") from None


def _group(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise BadInterception(f"there is no group {text!r} on this host: give a group's name or id") from None


def _networks(texts: Sequence[str] | None) -> tuple[Network, ...]:
    return tuple(_network(each) for each in texts or ())


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise BadInterception(
            f"{text!r} is not an address or network: {error}; use for example 10.0.0.0/8"
        ) from None


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise BadInterception(
            f"{text!r} is not the IP address of a server: use for example 10.0.0.2"
        ) from None
