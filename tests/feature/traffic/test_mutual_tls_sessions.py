"""Every connection to a sidecar proves anew who calls: no TLS session is resumed. Of a resumed one Envoy does not count the certificate as
verified, so that access policies would take the caller for nobody, and roots that were removed would go on to be trusted.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

from tests.support.traffic.members import TRUST_DOMAIN
from tests.support.traffic.world import Traffic

ALLOW = """
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web-alone}
spec:
  targetRefs: [{kind: Service, name: api}]
  action: allow
  rules: [{from: [{service: web}]}]
"""
REQUEST = b"GET / HTTP/1.1\r\nhost: api.mesh\r\n\r\n"


def as_web(traffic: Traffic) -> ssl.SSLContext:
    """A caller that has the certificate of web-1, and keeps sessions."""
    identity: Path = max((traffic.world.folder / "web-1-agent" / "identity").glob("*/chain.pem")).parent
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(identity / "roots.pem")
    context.load_cert_chain(identity / "chain.pem", identity / "key.pem")
    return context


def ask(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None
) -> tuple[bytes, ssl.SSLSession | None, bool]:
    """The status line, the session to resume (it comes with the answer), and whether `session` was resumed."""
    sni = f"80.api.default.{TRUST_DOMAIN}"
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=sni, session=session) as stream,
    ):
        stream.sendall(REQUEST)
        return stream.recv(65536).partition(b"\r\n")[0], stream.session, bool(stream.session_reused)


async def test_a_session_is_not_resumed(traffic: Traffic) -> None:
    context, port = as_web(traffic), traffic.member("api-1").sidecar_ports["http"]
    async with traffic.apply(ALLOW):
        answer, session, _ = await asyncio.to_thread(ask, context, port, None)
        assert answer == b"HTTP/1.1 200 OK"
        answer, _, resumed = await asyncio.to_thread(ask, context, port, session)
    assert (answer, resumed) == (b"HTTP/1.1 200 OK", False)
