"""What one proxy has open, as one: besides ADS, Envoy opens a stream for each secret whose source is not ADS (docs/adr/0006-agent-sds.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from xds.status import ClientStatus, TypeStatus
from xds.types import SECRET


def proxies(streams: Iterable[ClientStatus]) -> tuple[ClientStatus, ...]:
    """A stream of secrets alone is shown with the stream of the same client that has more; all others stand by themselves."""
    alone: dict[str, list[ClientStatus]] = {}
    whole: list[ClientStatus] = []
    for each in streams:
        if each.types and all(kind.type_url == SECRET for kind in each.types):
            alone.setdefault(each.id, []).append(each)
        else:
            whole.append(each)
    shown = []
    for each in whole:
        secrets = [kind for stream in alone.pop(each.id, ()) for kind in stream.types]
        shown.append(replace(each, types=(*each.types, reduce(_both, secrets))) if secrets else each)
    # A client that asks for secrets and for nothing else.
    shown.extend(stream for rest in alone.values() for stream in rest)
    return tuple(sorted(shown, key=lambda each: each.id))


def _both(one: TypeStatus, other: TypeStatus) -> TypeStatus:
    """Two streams of one type: what either waits for, both do."""
    return replace(
        one,
        subscribed=None
        if None in {one.subscribed, other.subscribed}
        else (one.subscribed or 0) + (other.subscribed or 0),
        responses=one.responses + other.responses,
        acknowledged=one.acknowledged + other.acknowledged,
        in_sync=one.in_sync and other.in_sync,
        pending=one.pending + other.pending,
        held_back=one.held_back + other.held_back,
        late=one.late or other.late,
        refusal=one.refusal or other.refusal,
    )
