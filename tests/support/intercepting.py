"""What runs on a host whose traffic is intercepted: an Envoy with the listeners that the rules expect, and an application."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy.admin import AdminClient
from envoy.errors import AdminFailed
from tests.support import binaries
from tests.support.namespaces import Host
from tests.support.processes import eventually, running

ENVOY = 61337
APP = 61400
"""The users that Envoy and the applications run as."""

FILTERS = "type.googleapis.com/envoy.extensions.filters"

SERVER = """
import http.server, json, socket, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"peer": self.client_address[0], "here": self.request.getsockname()[0]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

Server(("::", int(sys.argv[1])), Answer).serve_forever()
"""
"""An application: it says who called it and at which address, on every address of its host."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """An Envoy on a host."""

    host: Host
    admin: AdminClient

    async def seen(self) -> dict[str, int]:
        """How many connections came by each of its ways so far: outbound, inbound, virtual, names, refused."""
        stats = await self.admin.stats(
            r"^tcp\..*\.downstream_cx_total$|^dns_filter\..*\.downstream_rx_queries$"
        )
        found = {name.split(".")[1]: value for name, value in stats.items()}
        ways = ("outbound", "inbound", "virtual", "names", "names_tcp", "refused")
        return {way: found.get(way, 0) for way in ways}


@contextlib.asynccontextmanager
async def sidecar(
    folder: Path, host: Host, virtual: Mapping[str, str] | None = None, names: Mapping[str, str] | None = None
) -> AsyncIterator[Sidecar]:
    """An Envoy on `host`, as a user of its own. `virtual`: addresses of services, and the address that stands behind each
    (port 8080); `names`: what it knows of names."""
    path = folder / f"{host.namespace}.json"
    socket = folder / f"{host.namespace[-6:]}.sock"
    path.write_text(json.dumps(_bootstrap(socket, dict(virtual or {}), dict(names or {}))))
    command = [binaries.envoy(), "--config-path", str(path), "--disable-hot-restart", "--concurrency", "1"]
    command += ["--log-level", "warning"]
    async with running(f"envoy-{host.namespace}", folder, *host.command(*command, user=ENVOY)) as process:
        made = Sidecar(host, AdminClient(socket=str(socket)))
        await eventually(lambda: _ready(made), "Envoy is live", process)
        yield made


async def _ready(made: Sidecar) -> bool:
    with contextlib.suppress(AdminFailed):  # the socket is there before anybody listens on it
        return Path(made.admin.socket or "").exists() and await made.admin.ready()
    return False


@contextlib.asynccontextmanager
async def application(folder: Path, host: Host, port: int) -> AsyncIterator[None]:
    """SERVER on `host`."""
    command = host.command(sys.executable, "-c", SERVER, str(port), user=APP)
    async with running(f"app-{host.namespace}-{port}", folder, *command) as process:

        async def listens() -> bool:
            return f"*:{port} " in host.run("ss", "--listening", "--tcp", "--numeric", "--no-header")

        await eventually(listens, f"the application listens on {port}", process)
        yield


def call(host: Host, url: str, user: int = APP) -> dict[str, str]:
    """What SERVER at `url` answers a program on `host`. The program is curl, which knows nothing."""
    said = host.run("curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "5", url, user=user)
    answer: dict[str, str] = json.loads(said)
    return {name: value.removeprefix("::ffff:") for name, value in answer.items()}


def _bootstrap(socket: Path, virtual: dict[str, str], names: dict[str, str]) -> dict[str, Any]:
    outbound = [_chain("refused", "nowhere", destination_port=15001)]
    outbound += [
        _chain("virtual", real, prefix_ranges=[{"address_prefix": address, "prefix_len": 32}])
        for address, real in virtual.items()
    ]
    inbound = [_chain("refused", "nowhere", destination_port=15006)]
    return {
        "admin": {"address": {"pipe": {"path": str(socket)}}},
        "static_resources": {
            "listeners": [
                _captured("outbound", 15001, outbound, "outbound"),
                _captured("inbound", 15006, inbound, "inbound"),
                _captured("names_tcp", 15053, [], "outbound"),
                _names(names),
            ],
            "clusters": [
                _original("outbound"),
                _original("inbound")
                | {
                    "upstream_bind_config": {
                        "source_address": {"address": "127.0.0.6", "port_value": 0},
                        "extra_source_addresses": [{"address": {"address": "::6", "port_value": 0}}],
                    }
                },
                *(_static(real, real) for real in sorted(set(virtual.values()))),
                _static("nowhere"),
            ],
        },
    }


def _captured(name: str, port: int, chains: list[dict[str, Any]], cluster: str) -> dict[str, Any]:
    return {
        "name": name,
        "address": _address("0.0.0.0", port),
        "additional_addresses": [{"address": _address("::", port)}],
        "listener_filters": [
            {
                "name": "envoy.filters.listener.original_dst",
                "typed_config": {"@type": f"{FILTERS}.listener.original_dst.v3.OriginalDst"},
            }
        ],
        "filter_chains": chains,
        "default_filter_chain": _chain(name, cluster),
    }


def _chain(stat_prefix: str, cluster: str, **match: Any) -> dict[str, Any]:
    proxy = {
        "@type": f"{FILTERS}.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": stat_prefix,
        "cluster": cluster,
    }
    chain: dict[str, Any] = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
    return chain | ({"filter_chain_match": match} if match else {})


def _names(names: dict[str, str]) -> dict[str, Any]:
    table = {
        "virtual_domains": [
            {"name": name, "endpoint": {"address_list": {"address": [address]}}}
            for name, address in names.items()
        ]
    }
    config = {
        "@type": f"{FILTERS}.udp.dns_filter.v3.DnsFilterConfig",
        "stat_prefix": "names",
        "server_config": {"inline_dns_table": table},
    }
    return {
        "name": "names",
        "address": _address("0.0.0.0", 15053, "UDP"),
        "additional_addresses": [{"address": _address("::", 15053, "UDP")}],
        "listener_filters": [{"name": "envoy.filters.udp.dns_filter", "typed_config": config}],
    }


def _address(address: str, port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"socket_address": {"protocol": protocol, "address": address, "port_value": port}}


def _original(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "2s",
    }


def _static(name: str, address: str | None = None) -> dict[str, Any]:
    found = [{"endpoint": {"address": _address(address, 8080)}}] if address else []
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": found}]},
    }
