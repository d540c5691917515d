"""Manifests in, manifests out: `cases/<case>.yaml` gives `cases/out/<case>.yaml`. MESHWRIGHT_REWRITE_GOLDENS=1 writes them again: read the diff."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from inject.errors import NotInjectable
from inject.options import InjectOptions
from inject.streams import inject_stream

HERE = Path(__file__).parent / "cases"
OPTIONS = InjectOptions(image="registry.example/meshwright:1", pull_secrets=("registry",))


@pytest.mark.parametrize("case", sorted(path.stem for path in HERE.glob("*.yaml")))
def test_golden(case: str) -> None:
    stream = inject_stream((HERE / f"{case}.yaml").read_text(), OPTIONS)
    said = "".join(f"# {note}\n" for note in stream.notes) + stream.text
    path = HERE / "out" / f"{case}.yaml"
    if os.environ.get("MESHWRIGHT_REWRITE_GOLDENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(said)
    assert said == path.read_text()


@pytest.mark.parametrize("case", sorted(path.stem for path in HERE.glob("*.yaml")))
def test_injected_again_it_is_the_same_to_the_byte(case: str) -> None:
    once = inject_stream((HERE / f"{case}.yaml").read_text(), OPTIONS).text
    assert inject_stream(once, OPTIONS).text == once


def test_what_holds_no_pod_is_the_same_to_the_byte() -> None:
    text = "# ä\n--- # one\n{a: 'b'}\n...\n---\n\n- c\n---\nkind: Service\napiVersion: v1\n"
    assert inject_stream(text, OPTIONS).text == text


TEXTS = st.lists(
    st.dictionaries(st.text("aä\n:#- 😀", max_size=4), st.text(max_size=6), max_size=2), max_size=4
)


@given(TEXTS)
def test_documents_of_any_text_pass(documents: list[dict[str, str]]) -> None:
    text = yaml.dump_all(documents, allow_unicode=True, explicit_start=True)
    assert inject_stream(text, OPTIONS).text == text


def test_a_pod_between_others_keeps_its_place() -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b}]}\n"
    text = f"a: ä😀\n---\n{pod}---\nb: 2\n"
    made = list(yaml.safe_load_all(inject_stream(text, OPTIONS).text))
    assert (made[0], made[2]) == ({"a": "ä😀"}, {"b": 2})
    assert made[1]["spec"]["initContainers"][1]["name"] == "meshwright-proxy"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n---\nb: [", "no YAML"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", "Deployment a: there is no pod at spec.template.spec"),
        (
            "a: 1\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, ports: [{containerPort: 15001}]}]}\n",
            "Pod a: container a: port 15001 .*line 2",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(NotInjectable, match=said):
        inject_stream(text, OPTIONS)
