"""A mesh in which every example of the reference pages means something."""

from __future__ import annotations

from documents.envelope import Kind
from documents.parsing import ParsedFile, parse
from documents.sets import DocumentSet
from mesh.state import MeshState
from policies.registry import KINDS
from tests.support.builders import TRUST_DOMAIN

PORTS = {
    "web": "{name: http, port: 80, protocol: http}",
    "api": "{name: http, port: 80, protocol: http}",
    "catalogue": "{name: http, port: 80, protocol: http}",
    "uploads": "{name: http, port: 80, protocol: http}",
    "legacy": "{name: http, port: 80, protocol: http}",
    "prices": "{name: grpc, port: 50051, protocol: grpc}",
    "db": "{name: tcp, port: 5432, protocol: tcp}",
    "db-next": "{name: tcp, port: 5432, protocol: tcp}",
    "vault": "{name: tls, port: 8200, protocol: tls}",
}
UNMESHED = {"legacy"}


def _service(place: int, name: str, port: str) -> str:
    port_name = port.partition("name: ")[2].partition(",")[0]
    sidecar = "" if name in UNMESHED else ", sidecar: 15101"
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{port}]}}\n---\n"
        f"apiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {name}-1, labels: {{version: v2}}}}\n"
        f"spec:\n  services: [{name}]\n  address: 127.0.0.{place + 2}\n  meshed: {str(name not in UNMESHED).lower()}\n"
        f"  ports: [{{name: {port_name}, app: 9001{sidecar}}}]\n"
    )


WORLD = "---\n".join(_service(place, *each) for place, each in enumerate(PORTS.items()))


def read(name: str, text: str, kinds: tuple[Kind, ...] = KINDS) -> ParsedFile:
    """`text`, which must be right by itself."""
    parsed = parse(name, text.encode(), kinds)
    assert not parsed.errors, "\n".join(str(error) for error in parsed.errors)
    return parsed


def documents(*texts: str) -> DocumentSet:
    """The world's documents and those of `texts`, all of which must be right together."""
    files = [read("world.yaml", WORLD), *(read(f"{n}.yaml", text) for n, text in enumerate(texts))]
    found = DocumentSet().with_files(files)
    assert not found.errors, found.errors
    return found


def state(*texts: str) -> MeshState:
    """The mesh of `documents(*texts)`."""
    return MeshState(TRUST_DOMAIN).apply(documents(*texts).to_snapshot("file"))[0]


def sidecars(of: MeshState) -> tuple[str, ...]:
    """The names of all workloads of `of` that have a sidecar."""
    return tuple(
        str(key) for key, each in sorted(of.workloads.items()) if each.meshed and each.gateway is None
    )
