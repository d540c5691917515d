"""Asking the agent of this host to leave the mesh (`meshwright leave`). It is run where something is about to end: with little to import."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from agent.errors import AgentError


def ask_to_leave(path: Path, patience: float) -> None:
    """Return when callers have heard that the proxy ends. AgentError if the agent does not say so within `patience` seconds."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as asked:
        asked.settimeout(patience)
        try:
            asked.connect(str(path))
            asked.sendall(
                b"POST /leave HTTP/1.1\r\nHost: agent\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            status = asked.makefile("rb").readline(256)
        except TimeoutError:
            raise AgentError(
                f"the agent at {path} has not answered within {patience:g} s: see its log"
            ) from None
        except OSError as error:
            raise AgentError(
                f"no agent answers at {path} ({error.strerror}): is it running, with this --data-dir?"
            ) from error
    if b" 200 " not in status:
        raise AgentError(
            f"the agent at {path} has not left the mesh: {status.decode(errors='replace').strip()}: see its log"
        )
