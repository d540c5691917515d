"""Which documents are read from elsewhere than the store."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from documents.parsing import parse
from documents.sets import DocumentSet
from mesh.names import Key
from meshwright.kept import Kept
from policies.registry import KINDS
from store.directory import Directory
from store.kubernetes_held import Held
from store.kubernetes_objects import kept
from store.kubernetes_sets import ClusterDocuments
from tests.support.builders import service_document


def in_cluster(*names: str) -> ClusterDocuments:
    def an_object(name: str) -> Any:
        metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": name, "generation": 1}
        spec: dict[str, Any] = {"ports": [{"name": "http", "port": 80}]}
        return kept(
            {"apiVersion": "meshwright.dev/v1alpha1", "kind": "Service", "metadata": metadata, "spec": spec}
        )

    held = Held().with_changes({each.name: each for each in map(an_object, names)}, "cluster", KINDS)
    return cast("ClusterDocuments", SimpleNamespace(held=held))


def in_directory(*names: str) -> Directory:
    files = [parse(f"{name}.yaml", service_document(name).encode()) for name in names]
    return cast("Directory", SimpleNamespace(latest=DocumentSet().with_files(files)))


def services(found: Kept) -> list[tuple[str, str]]:
    files = found.files()
    names = sorted(each.key.name for each in files.documents)
    return [(name, files.index["Service", Key("default", name)].where.file) for name in names]


def test_those_of_a_cluster_are_read() -> None:
    assert services(Kept(None, None, None, in_cluster("api"))) == [("api", "Service default/api")]


def test_those_of_a_directory_come_first() -> None:
    found = Kept(None, None, in_directory("web"), in_cluster("api"))
    assert services(found) == [("api", "Service default/api"), ("web", "web.yaml")]
    assert services(Kept(None, None, in_directory("web"))) == [("web", "web.yaml")]
