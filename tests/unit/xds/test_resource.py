from __future__ import annotations

from dataclasses import replace

import pytest

from xds.cache import version_of
from xds.resource import encode
from xds.types import CLUSTER


def test_the_version_is_a_hash_of_the_content_alone() -> None:
    one = encode(CLUSTER, "a", b"body")
    assert one.version == encode(CLUSTER, "a", b"body", origin=("x",), needs=((CLUSTER, "b"),)).version
    assert one.version != encode(CLUSTER, "a", b"other").version
    # Written down, for it has to be the same after a restart and on every replica.
    assert one.version == "ec2edbeabbed4a40"


def test_provenance_and_needs_leave_the_bytes_alone() -> None:
    plain, known = (
        encode(CLUSTER, "a", b"body"),
        encode(CLUSTER, "a", b"body", ("file.yaml",), ((CLUSTER, "b"),)),
    )
    assert (plain.sotw, plain.delta, plain.mark) == (known.sotw, known.delta, known.mark)
    assert replace(plain, origin=("elsewhere",)).mark == plain.mark


@pytest.mark.parametrize("size", [0, 1, 127, 128, 5000, 3_000_000])
def test_the_body_can_be_had_again(size: int) -> None:
    assert encode(CLUSTER, "a", b"x" * size).body == b"x" * size


def test_marks_tell_names_and_versions_apart_and_add_up_in_any_order() -> None:
    a, b = encode(CLUSTER, "a", b"1"), encode(CLUSTER, "b", b"1")
    assert a.mark != b.mark
    assert version_of([a, b]) == version_of([b, a])
    assert version_of([]) == "0" * 16
