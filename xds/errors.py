"""What ends a stream.

XdsError
├── Refused             who is asking may not have it; carries the gRPC status
└── ProtocolViolation   a request that no client should send; the stream ends with INVALID_ARGUMENT
"""

from __future__ import annotations

import grpc


class XdsError(Exception):
    """Base. `str()` is told to the client."""


class Refused(XdsError):
    """Raised by whoever identifies clients."""

    def __init__(self, status: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ProtocolViolation(XdsError):
    pass
