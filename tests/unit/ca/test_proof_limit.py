from __future__ import annotations

from datetime import timedelta

from ca.proof import Claim
from ca.proof_limit import MOST_NAMES, MOST_PROOFS, ProofLimit
from ca.rate_limit import Rate
from mesh.names import Key


class World:
    def __init__(self, per_workload: float = 1e9, per_proof: float = 1e9) -> None:
        self.now = 0.0
        self.declared: set[Key] = set()
        self.limit = ProofLimit(
            lambda: self.now,
            declared=self.declared.__contains__,
            per_workload=Rate(per_workload, 1),
            per_proof=Rate(per_proof, 10),
            life=timedelta(hours=1),
        )

    def admitted(self, name: str, by: str = "token", *, named: bool = True) -> bool:
        return self.limit.refusal(Claim(Key("default", name), "api", by, named)) is None


def test_each_workload_has_its_rate_by_each_proof() -> None:
    world = World(per_workload=2)
    assert [world.admitted("a") for _ in range(3)] == [True, True, False]
    assert world.admitted("b")
    assert world.admitted("a", "another token")
    world.now = 1.0
    assert [world.admitted("a") for _ in range(2)] == [True, False]


def test_all_workloads_of_a_proof_have_one_together() -> None:
    world = World(per_proof=5)
    assert sum(world.admitted(f"w-{n}") for n in range(20)) == 5
    assert world.admitted("w-0", "another token")


def test_who_may_name_any_workload_invents_so_many() -> None:
    world = World()
    assert sum(world.admitted(f"w-{n}", named=False) for n in range(MOST_NAMES + 50)) == MOST_NAMES
    assert world.admitted("w-0", named=False)  # it has joined before
    assert not world.admitted("new", named=False)
    assert world.admitted("new", "another subject", named=False)
    assert all(world.admitted(f"w-{n}") for n in range(MOST_NAMES + 50))  # the proof itself bounds them


def test_what_is_declared_or_has_ended_is_not_invented() -> None:
    world = World()
    for number in range(MOST_NAMES):
        world.admitted(f"w-{number}", named=False)
    world.declared.add(Key("default", "new"))
    assert world.admitted("new", named=False)
    world.declared.add(Key("default", "w-3"))
    assert world.admitted("in its place", named=False)
    assert not world.admitted("one more", named=False)
    world.now = 3601.0
    assert world.admitted("one more", named=False)


def test_memory_is_bounded() -> None:
    world = World()
    for number in range(MOST_PROOFS + 100):
        world.admitted("w", f"subject {number}", named=False)
    assert len(world.limit._names) == MOST_PROOFS
