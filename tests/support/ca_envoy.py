"""One real Envoy that ends mutual TLS with our certificates and answers 200: configured by files, without our `envoy/`."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from google.protobuf import json_format

from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from tests.support import binaries
from tests.support.ca_builders import Credentials
from tests.support.ports import free_port

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"


def sds_file(path: Path, secret: bytes | dict[str, Any]) -> Path:
    """An SDS response with one secret, put in place by a rename, which is what Envoy watches for."""
    body = secret if isinstance(secret, dict) else json_format.MessageToDict(Secret.FromString(secret))
    whole = {"resources": [{"@type": f"{TLS}.Secret", **body}]}
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(whole))
    temporary.chmod(0o600)
    temporary.replace(path)
    return path


def _from(path: Path) -> dict[str, Any]:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _bootstrap(port: int, trust_domains: Sequence[str], identity: Path, roots: Path) -> dict[str, Any]:
    prefixes = [{"san_type": "URI", "matcher": {"prefix": f"spiffe://{each}/"}} for each in trust_domains]
    tls = {
        "@type": f"{TLS}.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": "identity", "sds_config": _from(identity)}],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": prefixes},
                "validation_context_sds_secret_config": {"name": "roots", "sds_config": _from(roots)},
            },
        },
    }
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    manager = {
        "@type": f"{HTTP}.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {
        "name": "tls",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": {"name": "tls", "typed_config": tls},
                "filters": [{"name": "http", "typed_config": manager}],
            }
        ],
    }
    return {"node": {"id": "test", "cluster": "test"}, "static_resources": {"listeners": [listener]}}


@dataclass(frozen=True)
class TlsEnvoy:
    port: int
    directory: Path

    async def served(self, roots: Path, client: Credentials | None) -> x509.Certificate:
        """The certificate shown to a client that gets an answer. OSError (as ssl.SSLError) if it gets none."""
        return await asyncio.to_thread(self._served, roots, client)

    def _served(self, roots: Path, client: Credentials | None) -> x509.Certificate:
        with contextlib.closing(self.connection(roots, client)) as connection:
            return ask(connection)

    def connection(self, roots: Path, client: Credentials | None) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(roots))
        context.check_hostname = False
        if client is not None:
            pair = self.directory / "client.pem"
            pair.write_bytes(client.key + client.chain)
            context.load_cert_chain(pair)
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=5)


def ask(connection: http.client.HTTPSConnection) -> x509.Certificate:
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"hello")
    assert isinstance(connection.sock, ssl.SSLSocket)
    shown = connection.sock.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)


async def until(check: Callable[[], Awaitable[bool]], what: str, seconds: float = 15) -> None:
    """Ask `check` again and again until it holds."""
    try:
        async with asyncio.timeout(seconds):
            while not await check():  # noqa: ASYNC110 - Envoy sets no event of ours
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


@asynccontextmanager
async def a_tls_envoy(
    directory: Path,
    trust_domain: str,
    identity: Path,
    roots: Path,
    *,
    federated: Sequence[str] = (),
    version: str | None = None,
) -> AsyncIterator[TlsEnvoy]:
    """An Envoy whose SDS files are `identity` and `roots`, for callers of the trust domains. It listens already."""
    port = free_port()
    bootstrap = directory / "envoy.json"
    bootstrap.write_text(json.dumps(_bootstrap(port, (trust_domain, *federated), identity, roots)))
    with (directory / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            await asyncio.to_thread(binaries.envoy, version),
            *("-c", str(bootstrap), "--use-dynamic-base-id", "--concurrency", "1", "-l", "info"),
            stdout=log,
            stderr=log,
        )
    try:

        async def listens() -> bool:
            assert process.returncode is None, (directory / "envoy.log").read_text()[-2000:]
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(listens, "Envoy listens")
        yield TlsEnvoy(port, directory)
    finally:
        process.terminate()
        await process.wait()
