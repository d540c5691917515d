"""What can go wrong with the Kubernetes API. `str()` says which cluster and request, what the server said, and the way out.

KubeError
├── BadCluster        a configuration that cannot work: no kubeconfig, no such context, unreadable certificates
├── LeaseLost         another replica leads, or the lease could not be renewed in time
└── ApiError          one request failed
    ├── Unreachable   no connection, no answer in time, or a connection that broke
    ├── Busy          429 or 5xx: the server is there and asks for patience
    ├── Unauthorized  401: it does not know us
    ├── Forbidden     403: a rule of RBAC is missing, or an admission webhook refused
    ├── NotFound      404: no such object, or the server does not serve the resource
    ├── Conflict      409: the object has changed since it was read, or another manager owns a field
    │   └── AlreadyExists
    ├── Expired       410: the history that was asked for is compacted
    ├── Invalid       400, 413 or 422: the object was refused, with `fields`
    └── Nonsense      an answer that cannot be one of the Kubernetes API's, or that is too large
"""

from __future__ import annotations

from dataclasses import dataclass


class KubeError(Exception):
    """Base of the errors of this package."""


class BadCluster(KubeError):
    pass


class LeaseLost(KubeError):
    pass


class ApiError(KubeError):
    """`retry_after`: seconds that the server asked us to wait, 0 if it did not."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(ApiError):
    pass


class Busy(ApiError):
    pass


class Unauthorized(ApiError):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class AlreadyExists(Conflict):
    pass


class Expired(ApiError):
    pass


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that is wrong with an object: the path in it (`spec.ports[0].port`) and what is wrong."""

    path: str
    message: str


class Invalid(ApiError):
    def __init__(self, message: str, *, fields: tuple[Field, ...] = (), retry_after: float = 0.0) -> None:
        super().__init__(message, retry_after=retry_after)
        self.fields = fields


class Nonsense(ApiError):
    pass
