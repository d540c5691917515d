"""Each of these was given to Envoy 1.40.0 with `normalize_path`: this is what became of it."""

from __future__ import annotations

import pytest

from policies.access_paths import ambiguous, normal


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "/"), ("/a", "/a"), ("/a/", "/a/"), ("/a//b", "/a//b"), ("//", "//"), ("///x", "///x"), ("/%61dmin", "/admin"), ("/%7euser", "/~user"),
        ("/%2D", "/-"), ("/a%20b", "/a%20b"), ("/%", "/%"), ("/%zz", "/%zz"), ("/%2561", "/%2561"), ("/a%2fb", "/a%2fb"), ("/a%5Cb", "/a%5Cb"), ("/a\\b", "/a/b"),
        ("/a/../b", "/b"), ("/a/%2e%2e/b", "/b"), ("/a/%2E%2e%2fb", "/a/..%2fb"), ("/a/.%2e/b", "/b"), ("/a/./b", "/a/b"), ("/a/..", "/"), ("/..", "/"),
        ("/a/.", "/a/"), ("/a/%2e", "/a/"), ("/a/./", "/a/"), ("/a/../", "/"), ("//..", "/"), ("/a//../b", "/a/b"), ("/a\\..\\b", "/b"), ("/a/..;/b", "/b"),
        ("/a/..;x=1/b", "/b"), ("/a/.;/b", "/a/b"), ("/a/..;", "/"), ("/a/.;", "/a/"), ("/a/;/b", "/a/;/b"), ("/a/b;/../c", "/a/c"), ("/a;b/../c", "/c"),
        ("/a/..%3b/b", "/a/..%3b/b"), ("/a..;/b", "/a..;/b"), ("/a/...", "/a/..."), ("/a/..b/c", "/a/..b/c"), ("/a?x=/../b", "/a"), ("/a%3fb", "/a%3fb"),
        ("/a;x=1/b", "/a;x=1/b"), ("/a^b", "/a%5Eb"), ("/a`{|}", "/a%60%7B%7C%7D"), ("/%5c../a", "/%5c../a"), ("/a?\\x", "/a"),
    ],
)  # fmt: skip
def test_a_path_as_policies_see_it(path: str, found: str) -> None:
    assert normal(path) == found
    assert normal(found) == found


def test_a_gateway_leaves_one_slash() -> None:
    assert normal("//a///b/", merged=True) == "/a/b/"


def test_what_applications_may_take_for_another_path() -> None:
    assert all(map(ambiguous, ("//", "/a%2Fb", "/a%2fb", "/a%5cb", "/a//")))
    assert not any(map(ambiguous, ("/", "/a/b", "/a%20b", "/a;b", "/a%252fb")))
