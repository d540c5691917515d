"""Which workload a misspelt name means, at a cost that does not grow with the mesh."""

from __future__ import annotations

import pytest

from mesh.names import Key
from meshwright.nearest import AROUND, MOST, Nearest

MANY = [Key("shop", f"web-{number:05}") for number in range(10_000)]


def test_the_nearest_of_its_namespace() -> None:
    known = Nearest([Key("shop", "web-1"), Key("shop", "cart-1"), Key("blog", "web-l")])
    assert known.to(Key("shop", "web-l")) == Key("shop", "web-1")
    assert known.to(Key("shop", "caart-1")) == Key("shop", "cart-1")
    assert known.to(Key("other", "web-1")) is None
    assert known.to(Key("shop", "nothing-like-it")) is None


def test_few_are_compared_and_for_few_names(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counted(_: str, names: list[str], n: int) -> list[str]:
        compared.append(len(names))
        return names[:n]

    monkeypatch.setattr("meshwright.nearest.difflib.get_close_matches", counted)
    known = Nearest(MANY)
    found = [known.to(Key("shop", f"web-0{number}x")) for number in range(3 * MOST)]
    assert len(compared) == MOST == sum(each is not None for each in found)
    assert max(compared) <= 2 * AROUND
