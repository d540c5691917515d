"""`meshwright serve`: the control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from meshwright.commands.options import duration


def serve(
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file of settings; see docs/settings.md.", exists=True, dir_okay=False),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where keys, tokens and the last good state are kept.")
    ] = None,
    trust_domain: Annotated[str | None, typer.Option(help="The trust domain of every SPIFFE id.")] = None,
    trust_domain_alias: Annotated[
        list[str] | None,
        typer.Option(help="A trust domain that means the same, while a mesh moves; repeatable."),
    ] = None,
    documents: Annotated[Path | None, typer.Option(help="A directory of YAML documents.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Where written documents are kept: sqlite, consul:URL or none.")
    ] = None,
    consul_url: Annotated[str | None, typer.Option(help="Where Consul's HTTP API answers.")] = None,
    consul_datacenter: Annotated[str | None, typer.Option(help="Consul's datacenter.")] = None,
    consul_token_file: Annotated[Path | None, typer.Option(help="A file that holds the ACL token.")] = None,
    consul_ca_file: Annotated[
        Path | None, typer.Option(help="The CA bundle for Consul's certificate.")
    ] = None,
    xds_address: Annotated[str | None, typer.Option(help="Where proxies connect: mutual TLS.")] = None,
    join_address: Annotated[str | None, typer.Option(help="Where proxies join.")] = None,
    plaintext_address: Annotated[
        str | None, typer.Option(help="xDS without TLS, on loopback only. Off unless set.")
    ] = None,
    admin_address: Annotated[
        str | None, typer.Option(help="HTTP for /metrics, /healthz and /readyz.")
    ] = None,
    api_address: Annotated[str | None, typer.Option(help="Where the REST API listens: TLS.")] = None,
    server_name: Annotated[
        list[str] | None, typer.Option(help="A DNS name or IP address of this server; repeatable.")
    ] = None,
    certificate_lifetime: Annotated[
        str | None, typer.Option(help="Life of workload certificates, for example 24h.")
    ] = None,
    ratelimit_redis: Annotated[
        str | None,
        typer.Option(help="Redis for shared rate limits. Others may see a password in it: prefer the file."),
    ] = None,
    clusters: Annotated[
        str | None,
        typer.Option(help="What proxies are given where their workloads say nothing: all or onDemand."),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console.")] = None,
) -> None:
    """Run the control plane until it is told to stop (SIGTERM or SIGINT)."""
    import uvloop

    from meshwright.control_plane import run
    from meshwright.settings import load

    consul = _given(
        url=consul_url, datacenter=consul_datacenter, token_file=consul_token_file, ca_file=consul_ca_file
    )
    options = _given(
        data_dir=data_dir,
        trust_domain=trust_domain,
        trust_domain_aliases=tuple(trust_domain_alias) if trust_domain_alias else None,
        documents=documents,
        store=store,
        consul=consul or None,
        xds_address=xds_address,
        join_address=join_address,
        plaintext_address=plaintext_address,
        admin_address=admin_address,
        api_address=api_address,
        server_names=tuple(server_name) if server_name else None,
        certificate_lifetime=duration(certificate_lifetime) if certificate_lifetime else None,
        ratelimit_redis=ratelimit_redis,
        clusters=clusters,
        log_level=log_level,
        log_format=log_format,
    )
    # It carries the same streams with a tenth less work than the loop of the standard library.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(load(config, options)))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
