"""What can end the agent, and the exit code that says so.

AgentError
├── BadOption            an option that cannot be
├── JoinRefused          the control plane answered no: another try of the same is useless
├── NotOurControlPlane   the server is not the control plane of our trust domain
├── NeedsToken           there is no valid certificate, and no token to get one with
├── DamagedIdentity      the stored identity cannot be used
├── DirectoryInUse       another agent works in the same directory
├── Unavailable          the control plane cannot be reached or is busy: tried again, ends nothing
└── EnvoyFailed          Envoy does not stay up
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """Base of the errors of this room. `str()` says what happened and the way out; it never holds a key or a token."""

    exit_code: ClassVar[int] = 1


class BadOption(AgentError, ValueError):
    exit_code = 2


class JoinRefused(AgentError):
    exit_code = 3


class NotOurControlPlane(AgentError):
    exit_code = 4


class NeedsToken(AgentError):
    exit_code = 5


class DamagedIdentity(AgentError):
    exit_code = 6


class EnvoyFailed(AgentError):
    exit_code = 7


class DirectoryInUse(AgentError):
    exit_code = 8


class Unavailable(AgentError):
    pass
