from __future__ import annotations

from pathlib import Path

import pytest

from ca.times import system_clock
from mesh.state import MeshState
from meshwright.proofs import proofs
from meshwright.settings import Settings
from meshwright.settings_groups import IssuerSettings, SubjectSettings


def test_subjects_that_are_good_for_any_workload_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    issuer = IssuerSettings(
        issuer="https://issuer.example",
        audiences=("mesh",),
        jwks_file=keys,
        subjects=(
            SubjectSettings(subject="named:{namespace}:{serviceAccount}", workload_claim="pod/name"),
            SubjectSettings(subject="open:{namespace}:{serviceAccount}"),
        ),
    )
    settings = Settings(documents=tmp_path, data_dir=tmp_path, join_issuers=(issuer,))
    found = proofs(settings, tmp_path, system_clock, lambda: MeshState("mesh.local"), {})
    assert set(found) == {"join_token", "jwt"}
    said = capsys.readouterr().out
    assert said.count("set workload_claim") == 1
    assert "open:{namespace}" in said
