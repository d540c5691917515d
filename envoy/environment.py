"""What a program that is started sees of this one's environment, in which there may be secrets: a join token, a passphrase.

Whoever writes documents can have an Envoy tell its environment: `%ENVIRONMENT(X)%` of access logs
(https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage), `environment` of spans' tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

OWN: Final = "MESHWRIGHT_"
"""How variables begin that are for Meshwright's own programs, secrets among them."""
NEEDED: Final = frozenset({"HOME", "LANG", "PATH", "TMPDIR", "TZ"})
NEEDED_PREFIXES: Final = ("ENVOY_", "LC_", "LD_", "SSL_CERT_")
"""Envoy's own, the dynamic linker's, and where OpenSSL's kin look for authorities."""


def of_envoy(environ: Mapping[str, str], also: Iterable[str] = ()) -> dict[str, str]:
    """What Envoy needs of `environ`, and the variables of the names in `also` that are there."""
    wanted = NEEDED | set(also)
    return {
        name: value for name, value in environ.items() if name in wanted or name.startswith(NEEDED_PREFIXES)
    }


def without_own(environ: Mapping[str, str]) -> dict[str, str]:
    """For programs of the operator's choice, which may need anything else: `environ` without what is ours alone."""
    return {name: value for name, value in environ.items() if not name.startswith(OWN)}
