"""What became of a mesh step by step is what it would be from the beginning, to the byte: nobody is left with anything stale,
missing, or too much.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.incremental import ATTACHED, POOL, Followed

STEPS = 8
MOVING = sorted(file for file, versions in POOL.items() if len(versions) > 1)
FIRST = dict.fromkeys(POOL, 0)
Versions = dict[str, int]
"""By file: its place in POOL."""


def worlds() -> st.SearchStrategy[Versions]:
    """A version of every file."""
    return st.fixed_dictionaries({file: st.integers(0, len(versions) - 1) for file, versions in POOL.items()})


def histories() -> st.SearchStrategy[list[Versions]]:
    """Each step writes some files."""
    one = st.sampled_from(MOVING).flatmap(
        lambda file: st.tuples(st.just(file), st.integers(0, len(POOL[file]) - 1))
    )
    step = st.lists(one, min_size=1, max_size=2, unique_by=lambda each: each[0]).map(dict)
    return st.lists(step, min_size=1, max_size=STEPS)


@pytest.mark.parametrize(
    "examples", [50, pytest.param(3000, marks=[pytest.mark.heavy, pytest.mark.timeout(1800)])]
)
def test_what_changes_came_to_is_what_the_same_documents_give_at_once(examples: int) -> None:
    @settings(max_examples=examples)
    @example({**FIRST, "api": 2}, [{"api": 0}])  # a gateway whose route leads to a subset of what comes
    @example({**FIRST, "route-1": 2}, [{"route-1": 0}])  # a route of what is reached by a route
    @example({**FIRST, "tcp-route": 1}, [{"web-1": 1}, {"db2": 1}, {"db2": 0}])
    # The first instance of a headless service, and a second one at an address that another has.
    @example({**FIRST, "db": 2, "db2": 2, "db-1": 2, "cap-1": 1}, [{"db-1": 0}, {"db-2": 1}, {"db-1": 2}])
    @given(worlds(), histories())
    def check(world: Versions, history: list[Versions]) -> None:
        mesh = Followed()
        mesh.write(read(world))
        mesh.attach()
        for step in history:
            mesh.write(read(step))
            fresh = Followed(mesh.documents)
            fresh.attach()
            wrong = differences(mesh.gives(), fresh.gives())
            assert not wrong, "\n".join([f"after {sorted(step)}:", *wrong])

    check()


def read(versions: Versions) -> dict[str, str | None]:
    return {file: POOL[file][version] for file, version in versions.items()}


def differences(
    given_now: dict[tuple[str, str, str], bytes], due: dict[tuple[str, str, str], bytes]
) -> list[str]:
    return [
        f"{' '.join(each)}: {'missing' if each not in given_now else 'too much' if each not in due else 'stale'}"
        for each in sorted(given_now.keys() | due.keys())
        if given_now.get(each) != due.get(each)
    ]


def test_every_version_of_every_document_can_be_read() -> None:
    """Else the above would be about less than it seems."""
    for file, versions in POOL.items():
        for version in versions:
            Followed().write({file: version})
    mesh = Followed()
    mesh.write({file: versions[0] for file, versions in POOL.items()})
    mesh.attach()
    assert {workload for workload, _, _ in mesh.gives()} == set(map(str, ATTACHED))
