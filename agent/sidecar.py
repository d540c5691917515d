"""From the agent's options to a started Envoy: the bootstrap and what it refers to, written, and the process."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path

from agent.errors import BadOption
from agent.identity_store import IdentityStore, StoredIdentity
from agent.options import Keys, ProxyOptions, host_and_port
from agent.sockets import ADMIN, own, socket_path
from ca import control_plane, files
from envoy.admin import AdminClient
from envoy.bootstrap import BootstrapInput, ConnectionFiles, render, secret_files
from envoy.environment import OWN
from envoy.errors import AdminFailed
from envoy.launcher import EnvoyProcess, LaunchOptions, require_envoy
from mesh.identity import TrustDomains
from mesh.workload import Locality

BOOTSTRAP = "bootstrap.json"
LOOPBACK = "127.0.0.1"


def connection_files(options: ProxyOptions, held: StoredIdentity | None = None) -> ConnectionFiles | None:
    """What Envoy's ADS connection is secured with: the agent's own identity, `held` if there is one yet. None for a proxy that is not a
    member.
    """
    if options.join is None:
        return None
    directory = options.directory.resolve()
    paths = IdentityStore(directory).paths()
    domains = TrustDomains(options.trust_domain) if held is None else held.trust_domains
    return ConnectionFiles(
        key=paths.key,
        chain=paths.chain,
        roots=paths.roots,
        watched=paths.watched,
        directory=directory,
        server_name=control_plane.server_name(domains.own),
        other_names=tuple(map(control_plane.server_name, domains.aliases)),
    )


def keys_socket(options: ProxyOptions) -> Path | None:
    """Where Envoy gets its keys from the agent; None if it does not, as one that is not a member. BadOption if there can be no socket."""
    if options.join is None or options.keys is not Keys.AGENT:
        return None
    return socket_path(options.directory, options.short_directory)


def admin_socket(options: ProxyOptions) -> Path | None:
    """Where Envoy's admin interface is; None if at a port. BadOption if there can be no socket."""
    return socket_path(options.directory, options.short_directory, ADMIN) if options.admin_socket else None


def bootstrap_input(options: ProxyOptions, held: StoredIdentity | None = None) -> BootstrapInput:
    """`held`: see `connection_files`; where the options say nothing of a locality, the one that it has holds. BadOption if an option cannot
    be.
    """
    host, port = host_and_port(options.control_plane)
    locality = options.locality
    if held is not None and locality == Locality():
        locality = held.locality
    return BootstrapInput(
        node_id=str(options.workload),
        cluster=options.cluster or str(options.workload),
        control_plane_host=host,
        control_plane_port=port,
        connection=connection_files(options, held),
        keys=keys_socket(options),
        locality=locality,
        admin_port=options.admin_port,
        admin_socket=admin_socket(options),
        local_service=options.local_service,
        stats_tags=(("namespace", options.workload.namespace), ("workload", options.workload.name)),
    )


def write_bootstrap(options: ProxyOptions) -> Path:
    """Write the bootstrap and the files beside it. Returns the bootstrap's path.

    Errors: OSError if they cannot be written, DamagedIdentity.
    """
    proved = IdentityStore(options.directory).load()
    given = bootstrap_input(options, proved)
    if proved is not None:
        # What it serves is the registry's business; by default the service account is named after it.
        service = ("service", proved.identity.service_account)
        given = replace(given, stats_tags=(service, *given.stats_tags))
    directory = files.own_directory(options.directory).resolve()
    if given.admin_socket is not None:
        own(Path(given.admin_socket).parent)
    _write_secret_files(directory, given.connection)
    path = directory / BOOTSTRAP
    files.write_atomically(path, render(given).encode())
    return path


def follow(options: ProxyOptions, held: StoredIdentity) -> None:
    """Have Envoy know the control plane by the names that it has now. Reads and writes files: OSError."""
    _write_secret_files(options.directory.resolve(), connection_files(options, held))


def _write_secret_files(directory: Path, connection: ConnectionFiles | None) -> None:
    for name, text in secret_files(connection).items() if connection is not None else ():
        path, content = directory / name, text.encode()
        if not path.exists() or path.read_bytes() != content:
            files.write_atomically(path, content)


def check(options: ProxyOptions) -> None:
    """Find out what cannot work before a token is spent on it. Errors: BadOption, EnvoyNotFound."""
    given = bootstrap_input(options)
    secret = [name for name in options.envoy_environment if name.startswith(OWN)]
    if secret:
        raise BadOption(
            f"--envoy-env {secret[0]}: what begins with {OWN} is not for Envoy, which documents can have tell its environment: "
            "give the value another name"
        )
    if options.starts_envoy:
        require_envoy(options.envoy, os.environ)
    if options.admin_socket and options.admin_port:
        raise BadOption("--admin-port and --admin-socket both say where Envoy's admin interface is: keep one")
    if given.admin_port and options.starts_envoy:
        _check_free(given.admin_address, given.admin_port)


def _check_free(host: str, port: int) -> None:
    """BadOption if Envoy could not have its admin port. It would end at once, again and again."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as Envoy does: old connections do not count
        try:
            trial.bind((host, port))
        except OSError as error:
            raise BadOption(
                f"Envoy's admin port {host}:{port} cannot be had ({error.strerror}): give another one by --admin-port, "
                "or 0 for a free one"
            ) from error


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind((LOOPBACK, 0))
        port: int = trial.getsockname()[1]
        return port


async def ready(options: ProxyOptions) -> bool:
    """Whether Envoy has its first configuration, and listens."""
    path = options.directory / BOOTSTRAP
    try:
        address = await asyncio.to_thread(path.with_suffix(".admin-address").read_text)
        admin = AdminClient.at(address.strip())
        return admin is not None and await admin.ready()
    except (OSError, AdminFailed):
        return False  # not started yet, or ended


async def start(options: ProxyOptions) -> EnvoyProcess:
    """Write the bootstrap and start Envoy by it. Errors: BadOption, EnvoyNotFound, OSError."""
    if not options.admin_port and not options.admin_socket:
        # Known beforehand, a listener can show the metrics. Should somebody be quicker to take it, Envoy ends and is started anew.
        options = replace(options, admin_port=_free_port())
    await asyncio.to_thread(check, options)
    binary = await asyncio.to_thread(require_envoy, options.envoy, os.environ)
    bootstrap = await asyncio.to_thread(write_bootstrap, options)
    return await EnvoyProcess.start(
        LaunchOptions(
            binary=binary,
            bootstrap=bootstrap,
            log=options.envoy_log,
            log_level=options.envoy_log_level,
            drain_time=options.drain_time,
            concurrency=options.concurrency,
            environment=options.envoy_environment,
        )
    )
