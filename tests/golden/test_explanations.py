"""What operators are told of requests: the whole text, for questions that somebody asks at three in the morning.

    explanations/base.yaml                     documents that all cases have
    explanations/<case>/documents.yaml         further ones
    explanations/<case>/question.yaml          as the API takes it
    explanations/<case>/answer.txt             what is told

`make golden` (MESHWRIGHT_REWRITE_GOLDENS=1) rewrites the answers.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from api.shapes.explain import ExplainRequest
from documents.parsing import parse
from explain.world import World
from mesh.events import SourceSnapshot
from mesh.state import MeshState
from meshwright.explainer import Given, answer
from policies.registry import KINDS
from tests.support.builders import TRUST_DOMAIN

FOLDER = Path(__file__).with_name("explanations")
REWRITE = os.environ.get("MESHWRIGHT_REWRITE_GOLDENS") == "1"
cases = sorted(path for path in FOLDER.iterdir() if path.is_dir())


def read(case: Path) -> MeshState:
    parsed = [parse("base.yaml", (FOLDER / "base.yaml").read_bytes(), KINDS)]
    own = case / "documents.yaml"
    if own.exists():
        parsed.append(parse("documents.yaml", own.read_bytes(), KINDS))
    for each in parsed:
        assert not each.errors, "\n".join(str(error) for error in each.errors)
    snapshot = SourceSnapshot(
        "file",
        tuple(service for each in parsed for service in each.services()),
        tuple(workload for each in parsed for workload in each.workloads()),
        tuple(one for each in parsed for one in each.declared()),
    )
    return MeshState(TRUST_DOMAIN).apply(snapshot)[0]


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_an_operator_is_told(case: Path) -> None:
    request = ExplainRequest.model_validate(yaml.safe_load((case / "question.yaml").read_text()))
    told = "\n".join(answer(World.of(read(case)), request, Given()).text) + "\n"
    if REWRITE:
        (case / "answer.txt").write_text(told)
        return
    assert told == (case / "answer.txt").read_text(), "`make golden` rewrites it: read the difference"


def test_there_are_as_many_as_promised() -> None:
    assert len(cases) >= 20
