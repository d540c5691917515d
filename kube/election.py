"""Who leads, by a Lease of coordination.k8s.io: what to write, and when another's lease is over. Pure.

As client-go's leader election does it (https://kubernetes.io/docs/concepts/architecture/leases/): the clocks of replicas are never compared.
A lease is over when it was seen unchanged for as long as it lasts, by the clock of whoever looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from kube.resource import LEASES, Object

LASTS = 15.0
"""Seconds that a lease is good for without being renewed."""
RENEW_WITHIN = 10.0
"""Seconds without a renewal after which a leader stops by itself: what it does has the rest to end."""
LONGEST = 60.0
"""Seconds for which a lease is believed at most, whatever it says of itself: none of ours lasts longer, and a wrong one must not keep all away."""
EVERY = 2.0
"""Seconds between two tries, to renew it or to get it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease as it was read, and since when (the reader's clock) it is like that."""

    version: str
    holder: str
    lasts: float
    since: float


class Election:
    """The view of one candidate, `me`. Times are seconds of its own clock, which never goes back."""

    def __init__(self, namespace: str, name: str, me: str) -> None:
        self._namespace = namespace
        self._name = name
        self._me = me
        self._seen: Seen | None = None

    @property
    def holder(self) -> str:
        """Who was seen to hold it last; "" if nobody was."""
        return self._seen.holder if self._seen else ""

    def first(self, wall: datetime) -> Object:
        """What to create where there is no lease."""
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._mine(wall, wall, 0),
        }

    def look(self, lease: Object, now: float, wall: datetime) -> Object | None:
        """What to replace `lease` by, read just now, so that it is ours for longer; None while it is another's."""
        spec, version = lease.get("spec") or {}, lease["metadata"]["resourceVersion"]
        holder = spec.get("holderIdentity") or ""
        if self._seen is None or self._seen.version != version:
            self._seen = Seen(
                version, holder, min(float(spec.get("leaseDurationSeconds") or 0), LONGEST), now
            )
        if holder not in {"", self._me} and now < self._seen.since + self._seen.lasts:
            return None
        transitions = int(spec.get("leaseTransitions") or 0)
        if holder == self._me:
            renewed: Object = {**spec, "renewTime": _micro(wall), "leaseDurationSeconds": int(LASTS)}
        else:
            renewed = {**spec, **self._mine(wall, wall, transitions + 1)}
        return {**lease, "spec": renewed}

    def release(self, lease: Object, wall: datetime) -> Object | None:
        """What to replace `lease` by when we lead no more, so that another needs not wait; None if it is not ours."""
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") != self._me:
            return None
        # Only the holder is emptied: the API takes no duration of 0.
        return {
            **lease,
            "spec": {**spec, "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro(wall)},
        }

    def _mine(self, acquired: datetime, renewed: datetime, transitions: int) -> Object:
        return {
            "holderIdentity": self._me,
            "leaseDurationSeconds": int(LASTS),
            "acquireTime": _micro(acquired),
            "renewTime": _micro(renewed),
            "leaseTransitions": transitions,
        }


def _micro(time: datetime) -> str:
    """A MicroTime of the API."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
