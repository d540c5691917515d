"""What is known of a cluster's objects, as one frozen value: the objects, and the documents that they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from immutables import Map

from documents.envelope import Kind
from documents.errors import NotPermitted
from documents.parsing import ParsedFile
from documents.sets import DocumentSet
from mesh.names import SYSTEM_NAMESPACE
from store.kubernetes_kinds import CONTROLLER, GATEWAY_CLASS
from store.kubernetes_objects import ClusterObject, taken
from store.kubernetes_tenants import not_permitted
from store.sets import file_of
from store.stored import Name

Changes = Mapping[Name, ClusterObject | None]
"""Objects as they are now; None: it is gone."""


@dataclass(frozen=True, slots=True)
class Held:
    """`objects` are all that are watched, of others too. `documents`: what those that are ours say; each is a "file" by itself, so that one
    that is refused concerns no other; a workload may serve a Service of the core group. `classes`: the GatewayClasses that are ours. `ignored`: fields
    of objects that were not read. `root_namespace`: the one whose documents may reach beyond it (`store.kubernetes_tenants`).
    """

    objects: Map[Name, ClusterObject] = Map()
    documents: DocumentSet = DocumentSet(alone=False)
    classes: frozenset[str] = frozenset()
    ignored: Map[Name, tuple[str, ...]] = Map()
    root_namespace: str = SYSTEM_NAMESPACE

    def refusal(self, name: Name) -> str:
        """Why an object is not in force as it is, all its errors in one text; empty if it is."""
        file = self.documents.files.get(file_of(name))
        return "; ".join(_said(str(each), file_of(name)) for each in file.errors) if file is not None else ""

    def is_permitted(self, name: Name) -> bool:
        """Whether an object may say what it says where it stands."""
        file = self.documents.files.get(file_of(name))
        return file is None or not any(isinstance(each, NotPermitted) for each in file.errors)

    def refused(self) -> dict[Name, str]:
        """All that are refused, with the reason."""
        files = self.documents.files
        wrong = (
            name for name in self.objects if (file := files.get(file_of(name))) is not None and file.errors
        )
        return {name: self.refusal(name) for name in wrong}

    def with_changes(self, changes: Changes, source: str, kinds: tuple[Kind, ...]) -> Held:
        """After `changes`. What only got another status or version is read no more than once."""
        objects = self.objects.mutate()
        concerned: set[Name] = set()
        for name, now in changes.items():
            if now is None:
                if objects.pop(name, None) is not None:
                    concerned.add(name)
                continue
            if not now.says_what(objects.get(name)):
                concerned.add(name)
            objects[name] = now
        found = objects.finish()
        classes = self.classes
        if any(kind == GATEWAY_CLASS for kind, _ in concerned):
            classes = frozenset(
                name[1].name for name, each in found.items() if name[0] == GATEWAY_CLASS and _is_ours(each)
            )
            if classes != self.classes:
                # They may have become ours, or somebody else's.
                concerned |= {name for name in found if name[0] == "Gateway"}
        held = replace(self, objects=found, classes=classes)
        return held.read(concerned, source, kinds) if concerned else held

    def read(self, concerned: Iterable[Name], source: str, kinds: tuple[Kind, ...]) -> Held:
        """With the documents that the objects `concerned` are now."""
        put, gone, ignored = [], [], self.ignored.mutate()
        for name in concerned:
            ignored.pop(name, None)
            now = self.objects.get(name)
            read = taken(now, source, kinds) if now is not None and self._is_document(now) else None
            if now is None or read is None or read.parsed is None:
                gone.append(file_of(name))
                continue
            put.append(self._permitted(now, read.parsed))
            if read.ignored:
                ignored[name] = read.ignored
        gone = [file for file in gone if file in self.documents.files]
        documents = self.documents.with_files(put, gone) if put or gone else self.documents
        said = ignored.finish()
        return replace(self, documents=documents, ignored=self.ignored if said == self.ignored else said)

    def _permitted(self, found: ClusterObject, parsed: ParsedFile) -> ParsedFile:
        """`parsed`, or what of it is not permitted: then nothing of it is in force."""
        wrong = tuple(not_permitted(found, self.root_namespace))
        return ParsedFile(parsed.file, errors=(*parsed.errors, *wrong)) if wrong else parsed

    def _is_document(self, found: ClusterObject) -> bool:
        """GatewayClasses say whose Gateways are ours, and Gateways of other classes are somebody else's."""
        if found.kind == GATEWAY_CLASS:
            return False
        spec = found.tree.get("spec")
        return (
            found.kind != "Gateway"
            or not isinstance(spec, dict)
            or spec.get("gatewayClassName") in self.classes
        )


def _is_ours(gateway_class: ClusterObject) -> bool:
    spec = gateway_class.tree.get("spec")
    return isinstance(spec, dict) and spec.get("controllerName") == CONTROLLER


def _said(error: str, file: str) -> str:
    """Without the name of the object, which its own status need not say."""
    return error.removeprefix(f"{file}, ").removeprefix(f"{file}: ")
