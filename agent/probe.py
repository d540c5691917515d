"""Why Envoy has no configuration yet: what answers at the control plane's address, in words for the operator."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

from agent.errors import DamagedIdentity
from agent.identity_store import IdentityStore
from agent.options import ProxyOptions, host_and_port
from agent.sidecar import connection_files
from envoy.bootstrap import ConnectionFiles

TIMEOUT: Final = 3.0
"""Seconds. An address that takes longer to answer is as good as none."""
WANTED: Final = "--control-plane, 15010 by default"


async def diagnose(options: ProxyOptions) -> str:
    """Connect to the xDS address as Envoy does, TLS included, and say what came of it. Raises nothing of the network."""
    address = options.control_plane
    host, port = host_and_port(address)
    try:
        held = await asyncio.to_thread(IdentityStore(options.directory).load)
        files = connection_files(options, held)
        context = None if files is None else await asyncio.to_thread(_context, files)
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=None if files is None else files.server_name
            )
    except DamagedIdentity as error:
        return str(error)
    except ssl.SSLError as error:
        return (
            f"what answers at {address} is not the control plane of {options.trust_domain!r} ({_said(error)}): "
            f"is that its xDS address ({WANTED})?"
        )
    except TimeoutError:
        return f"{address} does not answer: is that the control plane's xDS address ({WANTED})?"
    except OSError as error:
        return (
            f"nothing answers at {address} ({error.strerror or error}): is that the control plane's xDS address "
            f"({WANTED}), and does it run?"
        )
    writer.close()
    with contextlib.suppress(OSError):  # it may close before us: a probe says nothing
        await writer.wait_closed()
    return (
        f"{address} answers: either that is not the control plane's xDS address ({WANTED}), or no source of it has named "
        f"{options.workload} yet (`meshwright status` shows this proxy as waiting)"
    )


def _context(files: ConnectionFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.roots)
    context.load_cert_chain(files.chain, files.key)
    context.set_alpn_protocols(["h2"])
    return context


def _said(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.reason or str(error)
