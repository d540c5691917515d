"""The tree of a manifest: its shape depends on its entries alone, and little of it changes with one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.names import Key
from store import manifest
from store.errors import StoreCorrupt
from store.manifest import LEAF, NO_ENTRIES, Missing, Node, decode_node
from store.stored import Name

T = TypeVar("T")


class Kept:
    """Nodes as a backend would keep them, counting which are read."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.read: set[str] = set()

    def resolve(self, work: Callable[[manifest.Nodes], T]) -> T:
        """Hands out a node only after it was asked for by `Missing`, as `store.blobs` does."""
        here: dict[str, Node] = {}
        while True:
            try:
                return work(here.get)
            except Missing as lacking:
                if lacking.names & here.keys():
                    raise AssertionError("it asks for what it has") from lacking
                self.read |= lacking.names
                here.update({name: decode_node(name, self.blobs[name]) for name in lacking.names})

    def update(self, root: str, changes: dict[Name, str | None]) -> str:
        new, made = self.resolve(lambda nodes: manifest.update(nodes, root, changes))
        self.blobs.update(made)
        return new

    def lookup(self, root: str, names: Iterable[Name]) -> dict[Name, str]:
        wanted = tuple(names)
        return self.resolve(lambda nodes: manifest.lookup(nodes, root, wanted))

    def differences(self, old: str, new: str) -> dict[Name, tuple[str | None, str | None]]:
        return self.resolve(lambda nodes: manifest.differences(nodes, old, new))

    def entries(self, root: str) -> dict[Name, str]:
        return self.resolve(lambda nodes: manifest.entries(nodes, root))


def name(number: int) -> Name:
    return "Service", Key(f"ns-{number % 3}", f"s{number}")


NAMES = st.integers(0, 200).map(name)
CHANGES = st.lists(st.dictionaries(NAMES, st.sampled_from(["a", "b", "c", None]), max_size=120), max_size=6)


@given(CHANGES)
def test_it_holds_what_was_put_in_and_its_root_depends_on_that_alone(
    steps: list[dict[Name, str | None]],
) -> None:
    kept, root, model, before = Kept(), NO_ENTRIES, dict[Name, str](), dict[Name, str]()
    for changes in steps:
        before, was = dict(model), root
        root = kept.update(root, changes)
        for each, blob in changes.items():
            model.pop(each, None)
            if blob is not None:
                model[each] = blob
        assert kept.entries(root) == model
        assert kept.lookup(root, map(name, range(201))) == model
        different = kept.differences(was, root)
        names = before.keys() | model.keys()
        assert different == {
            each: (before.get(each), model.get(each)) for each in names if before.get(each) != model.get(each)
        }
    assert root == Kept().update(NO_ENTRIES, dict(model))
    assert kept.update(root, dict.fromkeys(model)) == NO_ENTRIES


def test_one_write_among_many_makes_and_reads_little() -> None:
    kept = Kept()
    root = kept.update(NO_ENTRIES, {name(number): f"{number:064x}" for number in range(10_000)})
    size = len(kept.blobs)
    assert size < 10_000 / LEAF * 4  # between a half and the whole of a leaf is in use
    kept.read.clear()
    _, made = kept.resolve(lambda nodes: manifest.update(nodes, root, {name(5000): "f" * 64}))
    assert len(made) <= 5
    assert sum(map(len, made.values())) < 10_000
    assert len(kept.read) <= 5


def test_two_trees_are_compared_without_what_they_share() -> None:
    kept = Kept()
    old = kept.update(NO_ENTRIES, {name(number): "a" for number in range(5000)})
    new = kept.update(old, {name(7): "b", name(9999): "a", name(8): None})
    kept.read.clear()
    different = kept.differences(old, new)
    assert different == {name(7): ("a", "b"), name(9999): (None, "a"), name(8): ("a", None)}
    assert len(kept.read) <= 30


@pytest.mark.parametrize("blob", [b"", b"[]", b'{"leaf":[[1]]}', b'{"branch":{"a":1}}', b"\xff"])
def test_what_is_no_node_is_told(blob: bytes) -> None:
    with pytest.raises(StoreCorrupt, match="no part of a manifest"):
        decode_node("x", blob)
