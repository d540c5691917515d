"""Documents that a command is given, and where their fields stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshwright.commands.files import in_namespace, places, read
from meshwright.errors import RefusedError, UsageError

TWO = "kind: Service\nmetadata: {name: a}\n---\nkind: Service\nmetadata:\n  name: b\n  namespace: shop\nspec:\n  ports:\n  - port: 1\n"


def test_a_directory_is_all_files_below_it_but_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "two.yaml").write_text(TWO)
    (tmp_path / "one.json").write_text('{"kind": "Service", "metadata": {"name": "c"}}')
    (tmp_path / ".hidden.yaml").write_text("kind: [")
    (tmp_path / "notes.txt").write_text("no document")
    assert [each.tree["metadata"]["name"] for each in read([str(tmp_path)])] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text",
    [
        '[{"kind": "A", "metadata": {"name": "x"}}]',
        'kind: List\nitems: [{kind: "A", metadata: {name: x}}]',
        'items: [{kind: "A", metadata: {name: x}}]',
    ],
)
def test_lists_are_their_items(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.yaml").write_text(text)
    (given,) = read([str(tmp_path)])
    assert given.named("default") == "A default/x"


def test_a_field_leads_to_its_line_also_inside_a_list(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    place = places(read([str(tmp_path / "two.yaml")]), "default")
    assert (place("Service shop/b", "spec.ports[0].port") or "").endswith("two.yaml:10")
    assert (place("whatever", "documents[0].metadata.name") or "").endswith("two.yaml:2")
    assert place("Service shop/nobody", "spec") is None
    (tmp_path / "list.yaml").write_text("items:\n- kind: A\n  metadata:\n    name: x\n")
    place = places(read([str(tmp_path / "list.yaml")]), "default")
    assert (place("A default/x", "metadata.name") or "").endswith("list.yaml:4")


def test_the_namespace_is_for_those_that_name_none(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    named = in_namespace(read([str(tmp_path)]), "blog")
    assert [each["metadata"]["namespace"] for each in named] == ["blog", "shop"]


def test_every_mistake_of_yaml_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: [\n")
    (tmp_path / "b.yaml").write_text("kind: &x y\n")
    with pytest.raises(RefusedError) as refused:
        read([str(tmp_path)])
    assert "a.yaml:2" in str(refused.value)
    assert "b.yaml:1" in str(refused.value)


@pytest.mark.parametrize("name", ["nowhere.yaml", "empty", "empty.yaml"])
def test_what_holds_nothing_is_wrong_use(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(UsageError):
        read([str(tmp_path / name)])


def test_what_is_no_document_says_what_one_has(tmp_path: Path) -> None:
    (tmp_path / "text.yaml").write_text("just text\n")
    with pytest.raises(RefusedError, match="apiVersion, kind, metadata and spec"):
        read([str(tmp_path)])
