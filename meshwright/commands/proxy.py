"""`meshwright proxy`: the sidecar of a workload."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from meshwright.commands.options import duration

C = TypeVar("C", bound=str)


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
        typer.Option(
            envvar="MESHWRIGHT_PROOF",
            help="What the token is: join-token, jwt, consul-token or kubernetes-token.",
        ),
    ] = "join-token",
    cluster: Annotated[
        str,
        typer.Option(
            envvar="MESHWRIGHT_CLUSTER",
            help="The control plane's name for the cluster of a kubernetes-token; the one that it runs in if unset.",
        ),
    ] = "",
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
    admin_socket: Annotated[
        bool,
        typer.Option(
            "--admin-socket",
            envvar="MESHWRIGHT_PROXY_ADMIN_SOCKET",
            help="Envoy's admin interface on a Unix socket that is this user's alone, at no port.",
        ),
    ] = False,
    drain_time: Annotated[
        str, typer.Option(envvar="MESHWRIGHT_DRAIN_TIME", help="How long open connections get at the end.")
    ] = "45s",
    leave_patience: Annotated[
        str | None,
        typer.Option(
            envvar="MESHWRIGHT_LEAVE_PATIENCE",
            help="How long callers get at the end to hear of it; 10s, or --drain-time if that is shorter, when unset.",
        ),
    ] = None,
    agent_port: Annotated[
        int | None,
        typer.Option(
            envvar="MESHWRIGHT_AGENT_PORT",
            help="Where the agent answers an orchestrator: /healthz/ready, and the application's checks. Off when unset.",
            min=1,
            max=65535,
        ),
    ] = None,
    app_checks: Annotated[str, typer.Option(envvar="MESHWRIGHT_APP_CHECKS", hidden=True)] = "{}",
    pod_ip: Annotated[str, typer.Option(envvar="MESHWRIGHT_POD_IP", hidden=True)] = "",
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
    from agent.app_checks import AppAddress
    from agent.app_probes import parsed
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
        token=TokenSource(
            token=token, file=token_file, kind=PROOFS[_choice(proof, tuple(PROOFS))], cluster=cluster
        ),
        key_type=_choice(key_type, tuple(KeyType)),
        keys=_choice(keys, tuple(Keys)),
        short_directory=_short_directory(),
        starts_envoy=start_envoy,
        locality=Locality(region, zone),
        admin_port=admin_port,
        admin_socket=admin_socket,
        drain_time=int(duration(drain_time).total_seconds()),
        envoy=envoy,
        envoy_log=envoy_log,
        envoy_log_level=envoy_log_level,
        concurrency=concurrency,
        envoy_environment=tuple(envoy_env or ()),
        leave_patience=None if leave_patience is None else duration(leave_patience).total_seconds(),
        agent_port=agent_port,
        app_checks=parsed(app_checks),
        app_address=AppAddress.of_pod(pod_ip),
    )
    raise typer.Exit(asyncio.run(run(options)))


def leave(
    data_dir: Annotated[
        Path, typer.Option(envvar="MESHWRIGHT_PROXY_DATA_DIR", help="The proxy's own directory.")
    ],
    patience: Annotated[str, typer.Option(help="How long to wait for the agent's answer.")] = "60s",
) -> None:
    """Have this host's proxy leave the mesh: returns when its callers have heard, so that the application may end. The proxy stays until it is stopped."""
    from agent.errors import AgentError
    from agent.leave_socket import ask_to_leave
    from agent.sockets import LEAVE, socket_path

    try:
        ask_to_leave(socket_path(data_dir, _short_directory(), LEAVE), duration(patience).total_seconds())
    except AgentError as error:
        typer.echo(f"meshwright: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


def _short_directory() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


def _choice(text: str, among: tuple[C, ...]) -> C:
    for each in among:
        if each == text:
            return each
    raise typer.BadParameter(f"{text!r} is none of {', '.join(among)}")
