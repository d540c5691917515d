"""Objects of a Kubernetes API server as documents: the same reading, checks and messages as for files. Pure.

What differs from a file, and why: an object has other readers than us, and the API server took it before we saw it.

- Of `metadata`, only what documents have is read. `status` is not read: it is what we write.
- References to what other controllers serve (a parent of another kind, a grant for kinds that are not ours) are left out; an object that has
  nothing else is not ours at all.
- Fields that we do not know, as of a newer version of the Gateway API, are left out and named in `Taken.ignored`. Of our own kinds there are
  none: their schemas are made of our models.
- What a status tells of such an object refuses it no more (`documents.envelope.Problem.told`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, ValidationError

from documents.envelope import Kind
from documents.errors import Invalid, Where
from documents.gateway_api.common import CORE_GROUPS, GROUP
from documents.parsing import ParsedFile, parse_kept
from documents.reading import Path, Tree, show
from mesh.names import Key
from store.sets import file_of, text_of
from store.stored import Name

METADATA: Final = ("name", "namespace", "labels", "annotations", "creationTimestamp")
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""An annotation of kubectl's, with the whole object in it once more."""
ROUNDS: Final = 4
"""How often unknown fields are looked for: pydantic names them all at once, but for what is within an alternative."""


@dataclass(frozen=True, slots=True)
class ClusterObject:
    """An object as it is kept in memory.

    `by` is the field manager that wrote it last, its status aside.
    `tree` is what it says, as `METADATA` and without `status`; `status` is what is written there now. `key` has no namespace for an object that
    belongs to none.
    """

    api_version: str
    kind: str
    key: Key
    uid: str
    generation: int
    resource_version: str
    tree: Mapping[str, Tree] = field(repr=False)
    status: Mapping[str, Tree] = field(default_factory=dict, repr=False)
    by: str = ""

    @property
    def name(self) -> Name:
        return self.kind, self.key

    def says_what(self, other: ClusterObject | None) -> bool:
        """Whether both say the same to us, whatever their statuses and versions: nothing need be read again."""
        return other is not None and (self.uid, self.generation, self.tree) == (
            other.uid,
            other.generation,
            other.tree,
        )


def kept(found: Mapping[str, Tree]) -> ClusterObject:
    """What is kept of an object, given as JSON with `apiVersion` and `kind`."""
    metadata = _mapping(found.get("metadata"))
    said: dict[str, Tree] = {name: metadata[name] for name in METADATA if metadata.get(name) is not None}
    notes = {name: text for name, text in _mapping(said.get("annotations")).items() if name != LAST_APPLIED}
    if notes:
        said["annotations"] = notes
    else:
        said.pop("annotations", None)
    tree = {name: part for name, part in found.items() if name not in {"metadata", "status"}}
    generation = metadata.get("generation")
    return ClusterObject(
        api_version=str(found.get("apiVersion")),
        kind=str(found.get("kind")),
        key=Key(str(metadata.get("namespace") or ""), str(metadata.get("name"))),
        uid=str(metadata.get("uid")),
        generation=generation if isinstance(generation, int) else 0,
        resource_version=str(metadata.get("resourceVersion")),
        tree={**tree, "metadata": said},
        status=_mapping(found.get("status")),
        by=_author(metadata.get("managedFields")),
    )


def _author(managed: Tree | None) -> str:
    """Who wrote last, by what the API server keeps of server-side apply and its like."""
    found = [
        (str(each.get("time")), str(each.get("manager")))
        for each in (managed if isinstance(managed, list) else ())
        if isinstance(each, dict) and not each.get("subresource")
    ]
    return max(found, default=("", ""))[1]


@dataclass(frozen=True, slots=True)
class Taken:
    """An object as a file of one document; None: it has nothing to do with us. `ignored`: fields that were not read, like `spec.rules[0].x`."""

    parsed: ParsedFile | None
    ignored: tuple[str, ...] = ()


def taken(found: ClusterObject, source: str, kinds: tuple[Kind, ...]) -> Taken:
    """`found` as the documents of `source` have it; its provenance is `<source>#<generation> <kind> <namespace>/<name>`."""
    tree = _ours(found)
    if tree is None:
        return Taken(None)
    kind = next(
        (each for each in kinds if (each.api_version, each.name) == (found.api_version, found.kind)), None
    )
    file, origin = file_of(found.name), f"{source}#{found.generation}"
    if kind is None:
        return Taken(_unserved(found, file))
    of_others = found.api_version.startswith(f"{GROUP}/")
    parsed = parse_kept(file, origin, tree, text_of(tree), (kind,), lenient=of_others)
    if not parsed.errors or not of_others:
        return Taken(parsed)
    known, ignored = _without_unknown(tree, kind.model)
    if ignored:
        parsed = parse_kept(file, origin, dict(known), text_of(known), (kind,), lenient=True)
    return Taken(parsed, tuple(map(show, ignored)))


def _unserved(found: ClusterObject, file: str) -> ParsedFile:
    error = Invalid(
        Where(file, path="apiVersion"),
        f"{found.kind} of {found.api_version} is not known",
        "Upgrade Meshwright, or use a version that it knows",
    )
    return ParsedFile(file, errors=(error,))


def _ours(found: ClusterObject) -> dict[str, Tree] | None:
    """What `found` says, less what it says to others; None if nothing is left."""
    tree = dict(found.tree)
    if not found.api_version.startswith(f"{GROUP}/"):
        return tree
    spec = dict(_mapping(tree.get("spec")))
    if found.kind == "ListenerSet" and not _names(spec.get("parentRef"), GATEWAYS, (GROUP, "Gateway")):
        return None
    match found.kind:
        case "ReferenceGrant":
            fields: tuple[tuple[str, frozenset[tuple[str, str]], tuple[str, str]], ...] = (
                ("from", REFERRERS, ("", "")),
                ("to", REFERRED, ("", "")),
            )
        case "BackendTLSPolicy":
            fields = (("targetRefs", TLS_TARGETS, ("", "")),)
        case _:
            fields = (("parentRefs", PARENTS, (GROUP, "Gateway")),)
    for name, known, default in fields:
        given = spec.get(name)
        if isinstance(given, list) and given:
            left: list[Tree] = [each for each in given if _names(each, known, default)]
            if not left:
                return None
            spec[name] = left
    return {**tree, "spec": spec}


def _of(groups: Iterable[str], *kinds: str) -> frozenset[tuple[str, str]]:
    return frozenset((group, kind) for group in groups for kind in kinds)


_ROUTES: Final = ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute")
_OWN: Final = ("meshwright.dev",)
GATEWAYS: Final = _of((GROUP,), "Gateway")
PARENTS: Final = _of((GROUP,), "Gateway", "ListenerSet") | _of(CORE_GROUPS, "Service")
"""By group and kind, what routes may be attached to."""
REFERRERS: Final = _of((GROUP,), *_ROUTES, "Gateway", "ListenerSet")
REFERRED: Final = _of(CORE_GROUPS, "Service", "Secret", "ConfigMap") | _of(
    _OWN, "ServiceSubset", "ExternalService"
)
TLS_TARGETS: Final = _of(CORE_GROUPS, "Service") | _of(_OWN, "ExternalService")


def _names(given: Tree, known: frozenset[tuple[str, str]], default: tuple[str, str]) -> bool:
    if not isinstance(given, dict):
        return True  # Refused, with its path.
    group, kind = given.get("group"), given.get("kind")
    return (default[0] if group is None else group, default[1] if kind is None else kind) in known


def _without_unknown(
    tree: Mapping[str, Tree], model: type[BaseModel]
) -> tuple[Mapping[str, Tree], tuple[Path, ...]]:
    """`tree` without the fields that `model` does not know, and their paths."""
    ignored: list[Path] = []
    for _ in range(ROUNDS):
        try:
            model.model_validate(tree)
        except ValidationError as error:
            unknown: list[Path] = [
                each["loc"] for each in error.errors(include_url=False) if each["type"] == "extra_forbidden"
            ]
        else:
            break
        if not unknown:
            break
        for path in unknown:
            tree = _mapping(_without(dict(tree), path))
        ignored += unknown
    return tree, tuple(ignored)


def _without(tree: Tree, path: Path) -> Tree:
    """A copy of `tree` that has nothing at `path`."""
    step, rest = path[0], path[1:]
    if isinstance(tree, dict) and isinstance(step, str) and step in tree:
        if not rest:
            return {name: part for name, part in tree.items() if name != step}
        return {**tree, step: _without(tree[step], rest)}
    if isinstance(tree, list) and isinstance(step, int) and step < len(tree) and rest:
        return [_without(part, rest) if place == step else part for place, part in enumerate(tree)]
    return tree


def _mapping(value: Tree | None) -> Mapping[str, Tree]:
    return value if isinstance(value, dict) else {}
