"""The manifest of a revision: which blob each document is, as a tree of blobs. Pure.

A leaf holds up to `LEAF` entries; more make a branch of 16, by the next hexadecimal digit of the hash of a document's kind,
namespace and name. The shape depends on the entries alone, whatever the order in which they came, so that equal documents
have equal roots, and parts that are equal are the same blobs. Among 10,000 documents, a write makes three or four new nodes, of some
KB. The root of no entries is "".

A function that lacks nodes raises `Missing` with all that it could have used next; the caller reads them and calls again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mesh.names import Key
from store.codec import canonical, digest
from store.errors import StoreCorrupt
from store.stored import Name

LEAF = 64
DIGITS = "0123456789abcdef"
NO_ENTRIES = ""

Entries = Mapping[Name, str]
"""Document → the name of its blob."""


@dataclass(frozen=True, slots=True)
class Node:
    """A leaf has `entries`, a branch `children`: digit → the child's name and how many entries are below it."""

    entries: Entries = field(default_factory=dict)
    children: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(count for _, count in self.children.values()) if self.children else len(self.entries)


Nodes = Callable[[str], Node | None]
"""A node by its name, None if it is not at hand."""


class Missing(Exception):
    """Nodes that have to be read first."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = frozenset(names)


def encode_node(node: Node) -> bytes:
    if node.children:
        return canonical({"branch": {digit: list(child) for digit, child in node.children.items()}})
    ordered = sorted(node.entries.items())
    return canonical({"leaf": [[kind, key.namespace, key.name, blob] for (kind, key), blob in ordered]})


def decode_node(name: str, blob: bytes) -> Node:
    """Raises StoreCorrupt."""
    try:
        said = json.loads(blob)
        if "branch" in said:
            return Node(children={digit: (child, count) for digit, (child, count) in said["branch"].items()})
        return Node(
            entries={(kind, Key(namespace, own)): document for kind, namespace, own, document in said["leaf"]}
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorrupt(
            f"blob {name} of the store is no part of a manifest ({error!r}). Restore the store from a backup"
        ) from error


def lookup(nodes: Nodes, root: str, names: Iterable[Name]) -> dict[Name, str]:
    """The blobs of those of `names` that there are."""
    found: dict[Name, str] = {}
    missing: set[str] = set()
    for name in names:
        at, path = root, _path(name)
        for digit in path:
            node = _node(nodes, at)
            if node is None:
                missing.add(at)
                break
            if not node.children:
                if name in node.entries:
                    found[name] = node.entries[name]
                break
            if digit not in node.children:
                break
            at = node.children[digit][0]
    if missing:
        raise Missing(missing)
    return found


def entries(nodes: Nodes, root: str) -> dict[Name, str]:
    """All of them."""
    found: dict[Name, str] = {}
    for node in _walk(nodes, root, lambda _: True):
        found.update(node[1].entries)
    return found


def walk(nodes: Nodes, root: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Node]]:
    """The nodes from `root` on, with their names, but for those (and what is below them) that are not `wanted`."""
    return iter(_walk(nodes, root, wanted))


def differences(nodes: Nodes, old: str, new: str) -> dict[Name, tuple[str | None, str | None]]:
    """What is another blob in `new` than in `old`: document → both. Looks at differing nodes alone."""
    found: dict[Name, tuple[str | None, str | None]] = {}
    missing: set[str] = set()
    pairs = [(old, new, 0)]
    while pairs:
        before, after, depth = pairs.pop()
        if before == after:
            continue
        was, now = _node(nodes, before), _node(nodes, after)
        missing.update(name for name, node in ((before, was), (after, now)) if node is None)
        if was is None or now is None:
            continue
        if was.children or now.children:
            below, above = _children(was, depth), _children(now, depth)
            for digit in {*below, *above}:
                one, other = below.get(digit, Node()), above.get(digit, Node())
                if isinstance(one, str) and isinstance(other, str):
                    pairs.append((one, other, depth + 1))
                else:
                    _compare(nodes, one, other, found, missing)
            continue
        _compare(nodes, was, now, found, missing)
    if missing:
        raise Missing(missing)
    return found


def update(nodes: Nodes, root: str, changes: Mapping[Name, str | None]) -> tuple[str, dict[str, bytes]]:
    """The root after `changes` (document → blob, None: removed), and the nodes that are new, by name.

    Among these may be some that other revisions have too.
    """
    made: dict[str, bytes] = {}
    by_path = [(_path(name), name, blob) for name, blob in changes.items()]
    name, _ = _updated(nodes, root, 0, by_path, made)
    return name, made


_Changes = list[tuple[str, Name, str | None]]


def _updated(nodes: Nodes, at: str, depth: int, changes: _Changes, made: dict[str, bytes]) -> tuple[str, int]:
    node = _needed(nodes, at)
    if not node.children:
        return _made(_applied(node.entries, changes), depth, made)
    groups: dict[str, _Changes] = {}
    for change in changes:
        groups.setdefault(change[0][depth], []).append(change)
    children = dict(node.children)
    missing: set[str] = set()
    for digit, group in groups.items():
        child, _ = children.pop(digit, (NO_ENTRIES, 0))
        try:
            name, count = _updated(nodes, child, depth + 1, group, made)
        except Missing as lacking:
            missing |= lacking.names
            continue
        if count:
            children[digit] = name, count
    if missing:
        raise Missing(missing)
    branch = Node(children=children)
    if branch.count > LEAF:
        return _kept(branch, made)
    gathered: dict[Name, str] = {}
    for name, _ in children.values():
        # A child of so few is a leaf; it may be one that was made just now.
        leaf = decode_node(name, made[name]) if name in made else _node(nodes, name)
        if leaf is None:
            missing.add(name)
        else:
            gathered.update(leaf.entries)
    if missing:
        raise Missing(missing)
    return _made(gathered, depth, made)


def _applied(held: Entries, changes: _Changes) -> dict[Name, str]:
    result = dict(held)
    for _, name, blob in changes:
        if blob is None:
            result.pop(name, None)
        else:
            result[name] = blob
    return result


def _made(held: Entries, depth: int, made: dict[str, bytes]) -> tuple[str, int]:
    if not held:
        return NO_ENTRIES, 0
    if len(held) <= LEAF:
        return _kept(Node(entries=held), made)
    groups: dict[str, dict[Name, str]] = {}
    for name, blob in held.items():
        groups.setdefault(_path(name)[depth], {})[name] = blob
    children = {digit: _made(group, depth + 1, made) for digit, group in groups.items()}
    return _kept(Node(children=children), made)


def _kept(node: Node, made: dict[str, bytes]) -> tuple[str, int]:
    blob = encode_node(node)
    name = digest(blob)
    made[name] = blob
    return name, node.count


def _path(name: Name) -> str:
    kind, key = name
    return hashlib.blake2b(f"{kind}\0{key.namespace}\0{key.name}".encode(), digest_size=16).hexdigest()


def _node(nodes: Nodes, name: str) -> Node | None:
    return Node() if name == NO_ENTRIES else nodes(name)


def _needed(nodes: Nodes, name: str) -> Node:
    node = _node(nodes, name)
    if node is None:
        raise Missing((name,))
    return node


def _walk(nodes: Nodes, root: str, wanted: Callable[[str], bool]) -> list[tuple[str, Node]]:
    found: list[tuple[str, Node]] = []
    missing: set[str] = set()
    names = [root]
    while names:
        name = names.pop()
        if name == NO_ENTRIES or not wanted(name):
            continue
        node = nodes(name)
        if node is None:
            missing.add(name)
            continue
        found.append((name, node))
        names.extend(child for child, _ in node.children.values())
    if missing:
        raise Missing(missing)
    return found


def _children(node: Node, depth: int) -> Mapping[str, str | Node]:
    """By digit: the name of a child, or, of a leaf, the entries that would be in that child."""
    if node.children:
        return {digit: name for digit, (name, _) in node.children.items()}
    groups: dict[str, dict[Name, str]] = {}
    for name, blob in node.entries.items():
        groups.setdefault(_path(name)[depth], {})[name] = blob
    return {digit: Node(entries=group) for digit, group in groups.items()}


def _compare(
    nodes: Nodes,
    old: str | Node,
    new: str | Node,
    found: dict[Name, tuple[str | None, str | None]],
    missing: set[str],
) -> None:
    """Entry by entry: one of the two is a leaf, so that there is little of the other."""
    sides: list[Entries] = []
    for side in (old, new):
        try:
            sides.append(entries(nodes, side) if isinstance(side, str) else side.entries)
        except Missing as lacking:
            missing |= lacking.names
    if len(sides) < 2:
        return
    was, now = sides
    for name in {*was, *now}:
        if was.get(name) != now.get(name):
            found[name] = was.get(name), now.get(name)
