"""What `meshwright ca status` shows of the roots, and of a rotation that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from api.shapes.ca import CaStatus, Lagging, MoveStatus, RootStatus
from ca.rotation import Holder, Lag, RotatingAuthority, Rotation, awaits_operator
from mesh.names import Key
from meshwright.rotation_told import iso
from xds.stream import Stream
from xds.types import SECRET

SHOWN: Final = 100


def ca_status(
    authority: RotatingAuthority,
    *,
    leaves: int,
    lags: Sequence[Lag],
    streams_of: Callable[[Key], Iterable[Stream]],
    watched: Callable[[], frozenset[str]],
    warnings: Iterable[str],
    move: MoveStatus | None,
) -> CaStatus:
    """`leaves` are good, and `lags` waited for. `streams_of` a workload: those of its Envoys; `watched`: the workloads whose agents are here."""
    rotation = authority.rotation
    signs = _signing_root(rotation)
    return CaStatus(
        stage=rotation.stage.value,
        aborting=rotation.aborting,
        since=iso(rotation.since),
        generation=rotation.signing,
        roots=tuple(
            RootStatus(sha256=root, not_after=iso(authority.root_ends(root)), signs=root == signs)
            for root in rotation.bundle
        ),
        intermediate_not_after=iso(authority.status().intermediate_not_after),
        leaves=leaves,
        awaits_operator=awaits_operator(rotation),
        lagging_in_all=len(lags),
        lagging=tuple(_lagging(lag, rotation, streams_of, watched) for lag in lags[:SHOWN]),
        warnings=tuple(warnings),
        move=move,
    )


def _lagging(
    lag: Lag,
    rotation: Rotation,
    streams_of: Callable[[Key], Iterable[Stream]],
    watched: Callable[[], frozenset[str]],
) -> Lagging:
    leaf, note, connected = lag.leaf, "", False
    if leaf.holder is Holder.ENVOY:
        streams = list(streams_of(Key.parse(leaf.workload)))
        connected = bool(streams)
        for stream in streams:
            state = stream.session.states.get(SECRET)
            if state is not None and state.refusal is not None:
                note = f"it refused {', '.join(state.refusal.names)}: {state.refusal.message[:200]}"
    elif leaf.holder is Holder.AGENT:
        connected = leaf.workload in watched()
    else:
        note = "issued before certificates were recorded: nobody knows to whom"
    return Lagging(
        workload=leaf.workload or "(unknown)",
        holder=leaf.holder.value,
        lacks=lag.lack.value,
        since=iso(rotation.since),
        until=iso(leaf.not_after),
        connected=connected,
        note=note,
    )


def _signing_root(rotation: Rotation) -> str:
    following = rotation.next
    return following.root if following and rotation.signing == following.number else rotation.base.root
