from __future__ import annotations

from pathlib import Path

import pytest

from documents.envelope import Kind
from documents.parsing import parse
from documents.schema import fields, schema
from envoy.render import Rendered
from mesh.state import MeshState
from meshwright.reference_doc import example, pages, write
from policies.kind import PolicyKind
from policies.registry import KINDS, POLICIES
from tests.support.envoy_static import rendered
from tests.support.example_world import sidecars, state

ROOT = Path(__file__).parents[3]
BY_NAME = {kind.name: kind for kind in reversed(KINDS)}
ALL = sorted(BY_NAME.values(), key=lambda kind: kind.name)


def made(of: MeshState) -> dict[str, tuple[Rendered, ...]]:
    found = {name: rendered(of, name) for name in sidecars(of)}
    for each in (each for of_one in found.values() for each in of_one):
        assert each.problem is None, each.problem
    return found


@pytest.fixture(scope="module")
def plain() -> dict[str, tuple[Rendered, ...]]:
    """What all sidecars are given without any example."""
    return made(state())


def test_the_pages_are_those_of_the_code() -> None:
    folder = ROOT / "docs" / "reference"
    assert {path.name: path.read_text() for path in folder.glob("*")} == pages(), "run `make reference`"


def test_writing_leaves_no_page_of_a_kind_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "Gone.md").write_text("old")
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == pages().keys()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_every_kind_has_a_page_that_the_index_names(kind: Kind) -> None:
    found = pages()
    assert f"# {kind.name}\n" in found[f"{kind.name}.md"]
    assert f"({kind.name}.md)" in found["README.md"]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_the_example_is_of_its_kind_and_can_be_rendered(kind: Kind) -> None:
    text = example(kind)
    assert kind.name in {each.kind for each in parse("example.yaml", text.encode(), KINDS).documents}
    made(state(text))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_the_example_of_a_policy_changes_what_sidecars_are_given(
    policy: PolicyKind, plain: dict[str, tuple[Rendered, ...]]
) -> None:
    assert made(state(example(policy.as_document()))) != plain


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_every_field_is_described(kind: Kind) -> None:
    assert [each.path for each in fields(schema(kind), "spec") if not each.description] == []


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_every_policy_has_a_golden_case(policy: PolicyKind) -> None:
    cases = ROOT / "tests" / "golden" / "cases"
    assert any(
        document.kind == policy.name
        for case in cases.glob("*/input.yaml")
        if policy.name in (text := case.read_text())
        for document in parse("input.yaml", text.encode(), KINDS).documents
    ), f"add tests/golden/cases/<case>/input.yaml with a {policy.name}, then `make golden`"
