"""What can go wrong with a source. `str()` says what happened, where, and the way out; it never holds a secret.

DiscoveryError
├── ConsulError            Consul cannot be read for now
│   ├── ConsulUnreachable  no connection, a time-out, or an answer of 5xx or 429
│   ├── ConsulRefused      an answer of 401 or 403
│   └── ConsulNonsense     an answer that cannot be one of Consul's, or that is too large
├── ConsulManyLost         one answer takes so much away that all is read anew
├── ConsulIndexReset       an index went backwards: Consul was restored or restarted empty
└── BadOptions             options that cannot work (a bad address, an unreadable certificate)
"""

from __future__ import annotations


class DiscoveryError(Exception):
    """Base of the errors of this package."""


class ConsulError(DiscoveryError):
    pass


class ConsulUnreachable(ConsulError):
    pass


class ConsulRefused(ConsulError):
    pass


class ConsulNonsense(ConsulError):
    pass


class ConsulManyLost(DiscoveryError):
    pass


class ConsulIndexReset(DiscoveryError):
    pass


class BadOptions(DiscoveryError):
    pass
