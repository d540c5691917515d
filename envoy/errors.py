"""What can be wrong in this room.

EnvoyError
├── EmptyIdentities        a service that nobody may serve: an empty matcher list would accept anyone
├── ConstraintViolation    a message that Envoy would refuse by its own proto constraints
├── EnvoyNotFound          no Envoy binary where it was looked for
├── InstallFailed          the Envoy binary could not be installed
├── EnvoyNotReady          a started Envoy ended, or was not ready in time
├── InvalidConfiguration   `envoy --mode validate` refused a bootstrap
└── AdminFailed            Envoy's admin interface did not answer, or answered no
"""

from __future__ import annotations


class EnvoyError(Exception):
    """Base of the errors of this room. `str()` says what happened, where, and the way out."""


class EmptyIdentities(EnvoyError):
    pass


class ConstraintViolation(EnvoyError):
    """`path` is the field, as in `transport_socket_matches[0].name`."""

    def __init__(self, message: str, path: str, rule: str) -> None:
        super().__init__(f"{message}: {path}: {rule}")
        self.path = path
        self.rule = rule


class EnvoyNotFound(EnvoyError):
    pass


class InstallFailed(EnvoyError):
    pass


class EnvoyNotReady(EnvoyError):
    pass


class InvalidConfiguration(EnvoyError):
    pass


class AdminFailed(EnvoyError):
    pass
