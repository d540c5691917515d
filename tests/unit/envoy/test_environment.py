"""What programs that are started see of the environment."""

from __future__ import annotations

from envoy.environment import of_envoy, without_own

HERE = {
    "PATH": "/bin",
    "LD_LIBRARY_PATH": "/lib",
    "ENVOY_X": "1",
    "STAGE": "production",
    "DATABASE_PASSWORD": "no",
    "MESHWRIGHT_TOKEN": "no",
}


def test_envoy_sees_what_it_needs_and_what_is_named() -> None:
    needed = {"PATH": "/bin", "LD_LIBRARY_PATH": "/lib", "ENVOY_X": "1"}
    assert of_envoy(HERE) == needed
    assert of_envoy(HERE, ("STAGE", "NOT_THERE")) == {**needed, "STAGE": "production"}


def test_other_programs_see_all_but_what_is_ours() -> None:
    assert without_own(HERE) == {name: each for name, each in HERE.items() if name != "MESHWRIGHT_TOKEN"}
