"""Moving the mesh from one trust domain to another while it runs: which settings may follow upon which. Pure: no clock, no I/O.

    old  ──>  old, alias new  ──>  new, alias old  ──>  new

Each step is a start of the control plane with other settings, and proxies hear of it one after another. So two of them are a step apart at
most, if a step is taken only when everybody has heard of the one before: then whoever has a certificate of the one trust domain, or asks
for a service by its name, meets nobody who does not know that it is the same. Why so: docs/adr/0009-trust-domain-move.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from ca.errors import CannotMove
from mesh.identity import TrustDomains

OPEN: Final = timedelta(hours=2)
"""That a connection of HTTP is open at most, with time to spare: callers close it after an hour (`envoy.clusters.MAX_CONNECTION_AGE`), and its
callees hold each request against the certificate that it was made with. What is TCP was let in when it began.
"""
SHOWN: Final = 5
UNKNOWN: Final = ""
"""The trust domain of a certificate of which it was not recorded."""
HOW: Final = "docs/security.md, moving to another trust domain"


@dataclass(frozen=True, slots=True)
class Known:
    """`domains`: what is set. `accepted`: trust domains whose identities and server names every proxy knows to be of this mesh. `asked`: those
    by whose server names some proxy may still ask for a service. `left`: aliases of before, and until when connections may be open that were made
    with certificates of them.
    """

    domains: TrustDomains
    accepted: frozenset[str]
    asked: frozenset[str]
    left: tuple[tuple[str, datetime], ...] = ()

    @property
    def heard(self) -> bool:
        """Whether every proxy goes by `domains`."""
        return self == heard(self)


def begin(domains: TrustDomains) -> Known:
    """Where there is no proxy yet."""
    return Known(domains, frozenset(domains.all), frozenset({domains.own}))


def heard(known: Known) -> Known:
    """Once every proxy goes by what is set."""
    return replace(begin(known.domains), left=known.left)


def become(before: Known, domains: TrustDomains, held: Mapping[str, Sequence[str]], now: datetime) -> Known:
    """What is known once `domains` are set, of which none is former. `held`: the workloads with certificates that are still good, by the certificates' trust domain.

    CannotMove, with the way out, if somebody could be shut out.
    """
    if not any(held.values()):
        return begin(domains)
    if domains.own not in before.accepted:
        raise CannotMove(
            f"trust_domain: not every proxy accepts identities of {domains.own} yet: set trust_domain to {before.domains.own} and "
            f"trust_domain_aliases to [{domains.own}] first, and wait until `meshwright ca status` says that it may become {domains.own} "
            f"({HOW})"
        )
    dropped = sorted({*before.domains.all} - {*domains.all})
    for gone in dropped:
        if holders := sorted({*held.get(gone, ()), *held.get(UNKNOWN, ())}):
            more = f" and {len(holders) - SHOWN} more" if len(holders) > SHOWN else ""
            who = ", ".join(each or "(unknown)" for each in holders[:SHOWN])
            raise CannotMove(
                f"trust_domain_aliases: {who}{more} may hold certificates of {gone}: keep {gone} among the aliases until `meshwright ca status` "
                f"says that it may be taken out; `meshwright ca rotate` has all certificates renewed ({HOW})"
            )
        if gone in before.asked:
            raise CannotMove(
                f"trust_domain_aliases: not every proxy has heard that this mesh is {before.domains.own}: keep {gone} among the aliases until "
                f"`meshwright ca status` says that it may be taken out ({HOW})"
            )
    ours = frozenset(domains.all)
    left = {name: until for name, until in before.left if until > now} | dict.fromkeys(dropped, now + OPEN)
    return replace(
        before,
        domains=domains,
        accepted=before.accepted & ours,
        asked=(before.asked & ours) | {domains.own},
        left=tuple((name, until) for name, until in sorted(left.items()) if name not in ours),
    )
