"""The small mesh in which the catalogue's examples are told: web calls api, api calls store, two workloads of each in two zones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from api.shapes.acknowledgements import Acknowledgements
from api.shapes.status import PlaintextReport, Status
from documents.parsing import ParsedFile, parse
from documents.sets import DocumentSet
from mesh.events import SourceSnapshot
from mesh.service import Service
from mesh.state import MeshState
from mesh.workload import Workload
from meshwright.analysis.finding import Example
from meshwright.analysis.sight import Live, Sight
from policies.registry import KINDS

NOW: Final = datetime(2027, 1, 1, tzinfo=UTC)
TRUST_DOMAIN: Final = "mesh.local"
CALLS: Final = {"web": ("api",), "api": ("store",), "store": ()}
API_VERSION: Final = "apiVersion: meshwright.dev/v1alpha1\n"


def base() -> Iterator[str]:
    """A document each."""
    for place, (name, uses) in enumerate(CALLS.items(), 1):
        yield f"kind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: http, port: 80, protocol: http}}]}}\n"
        for number, zone in ((1, "a"), (2, "b")):
            yield (
                f"kind: Workload\nmetadata: {{name: {name}-{number}}}\nspec:\n  services: [{name}]\n  serviceAccount: {name}\n"
                f"  address: 10.0.{place}.{number}\n  ports: [{{name: http, app: 8080, sidecar: 15101}}]\n"
                f"  locality: {{region: eu, zone: {zone}}}\n  meshed: true\n  uses: [{', '.join(uses)}]\n"
            )


def sight(example: Example) -> Sight:
    """What checks see of it. ValueError if the example itself is refused."""
    state, _ = MeshState(TRUST_DOMAIN, order=("files",)).apply(
        _snapshot("files", (*base(), *_pieces(example.documents)))
    )
    if example.second:
        state, _ = state.apply(_registry(_pieces(example.second)))
    return Sight(state, _live(example.live) if example.live else None)


def _snapshot(source: str, pieces: tuple[str, ...]) -> SourceSnapshot:
    """The last document of a name is the one that counts."""
    files: dict[tuple[str, str], ParsedFile] = {}
    for number, piece in enumerate(pieces):
        parsed = _parsed(piece, number)
        for document in parsed.documents:
            files[document.name[0], str(document.key)] = parsed
    found = DocumentSet().with_files(tuple(files.values()))
    if found.errors:
        raise ValueError("; ".join(map(str, found.errors)))
    return found.to_snapshot(source)


def _registry(pieces: tuple[str, ...]) -> SourceSnapshot:
    """As a registry says it, which is not asked whether what it says belongs together."""
    found = [each.value for piece in pieces for each in _parsed(piece).documents]
    return SourceSnapshot(
        "second",
        tuple(each for each in found if isinstance(each, Service)),
        tuple(each for each in found if isinstance(each, Workload)),
    )


def _parsed(piece: str, number: int = 0) -> ParsedFile:
    text = piece if "apiVersion" in piece else API_VERSION + piece
    parsed = parse(f"{number}.yaml", text.encode(), KINDS)
    if parsed.errors:
        raise ValueError("; ".join(map(str, parsed.errors)))
    return parsed


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(piece for piece in text.split("---\n") if piece.strip())


# A control plane in order, with one of everything

PROXY: Final[Mapping[str, Any]] = {
    "proxy": "default/api-1",
    "state": "connected",
    "peer": "10.0.2.1:4711",
    "agent": "envoy 1.40.0",
    "protocol": "delta",
    "connectedFor": 600.0,
    "note": "",
    "types": [],
}
TYPE: Final[Mapping[str, Any]] = {
    "type": "Listener",
    "subscribed": "everything",
    "sent": 1,
    "acknowledged": 1,
    "inSync": True,
    "late": False,
    "pending": [],
    "heldBack": [],
    "refused": None,
}
SOURCE: Final[Mapping[str, Any]] = {
    "source": "consul",
    "state": "live",
    "since": 600.0,
    "services": 3,
    "workloads": 6,
    "error": None,
    "errors": [],
    "warnings": [],
}
STATUS: Final[Mapping[str, Any]] = {
    "version": "1.0",
    "trustDomain": TRUST_DOMAIN,
    "ready": True,
    "services": 3,
    "workloads": 6,
    "proxies": [{**PROXY, "proxy": f"default/{name}-{number}"} for name in CALLS for number in (1, 2)],
    "sources": [SOURCE],
    "holds": [],
    "problems": {},
    "notes": [],
    "conflicts": [],
    "certificates": {},
}


def _live(changed: Mapping[str, Any]) -> Live:
    """`plaintext` and `newest` are the reports of those names, `replicas` their number; all else are fields of the status."""
    others = {
        name: value for name, value in changed.items() if name not in {"plaintext", "newest", "replicas"}
    }
    plaintext, newest = changed.get("plaintext"), changed.get("newest")
    return Live(
        Status.model_validate_json(json.dumps({**STATUS, **others})),
        NOW,
        PlaintextReport.model_validate_json(json.dumps(plaintext)) if plaintext is not None else None,
        Acknowledgements.model_validate_json(json.dumps(newest)) if newest is not None else None,
        changed.get("replicas", 1),
    )
