"""What the sidecar of `default/web-1` is given, for the documents of each case in `cases/`.

    cases/<case>/input.yaml                                          documents
    cases/<case>/out.{listeners,routes,scopes,clusters,endpoints}.yaml   what Envoy gets, as YAML

`make golden` (MESHWRIGHT_REWRITE_GOLDENS=1) rewrites the outputs and removes those that nothing makes any more. Every case is
also put through `envoy --mode validate`, for every sidecar in it, and read by a second decoder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToJson
from google.protobuf.message_factory import GetMessageClass

from documents.parsing import parse
from envoy import packing
from envoy.check import message_type
from envoy.launcher import validate
from envoy.render import Rendered
from envoy.validate import assemble
from mesh.events import SourceSnapshot
from mesh.state import MeshState
from policies.registry import KINDS
from tests.support import binaries
from tests.support.builders import TRUST_DOMAIN
from tests.support.envoy_certificates import TestAuthority
from tests.support.envoy_decoding import differences
from tests.support.envoy_static import edge_secrets, rendered

CASES = Path(__file__).with_name("cases")
REWRITE = os.environ.get("MESHWRIGHT_REWRITE_GOLDENS") == "1"
PROXY = "default/web-1"
FILES = {
    packing.LDS: "listeners",
    packing.RDS: "routes",
    packing.SRDS: "scopes",
    packing.CDS: "clusters",
    packing.EDS: "endpoints",
}
cases = sorted(path for path in CASES.iterdir() if path.is_dir())


def read(case: Path) -> MeshState:
    parsed = parse("input.yaml", (case / "input.yaml").read_bytes(), KINDS)
    assert not parsed.errors, "\n".join(str(error) for error in parsed.errors)
    snapshot = SourceSnapshot(
        "file", tuple(parsed.services()), tuple(parsed.workloads()), tuple(parsed.declared())
    )
    return MeshState(TRUST_DOMAIN).apply(snapshot)[0]


def outputs(resources: Iterable[Rendered]) -> dict[str, str]:
    """File names and YAML, for the kinds there are."""
    found: dict[str, list[object]] = {}
    for each in sorted(resources, key=lambda each: (each.type_url, each.name)):
        assert each.problem is None, each.problem
        message = GetMessageClass(message_type(each.type_url)).FromString(each.body)
        values = json.loads(MessageToJson(message, preserving_proto_field_name=True))
        found.setdefault(f"out.{FILES[each.type_url]}.yaml", []).append(values)
    return {name: yaml.safe_dump(values, sort_keys=True, width=110) for name, values in found.items()}


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_a_sidecar_is_given_what_the_golden_files_say(case: Path) -> None:
    made = outputs(rendered(read(case), PROXY))
    old = {path.name for path in case.glob("out.*")}
    if REWRITE:
        for name, text in made.items():
            (case / name).write_text(text)
        for name in old - made.keys():
            (case / name).unlink()
        return
    assert old == made.keys(), "`make golden` rewrites the outputs: read the difference"
    for name, text in made.items():
        assert text == (case / name).read_text(), f"{name}: `make golden` rewrites it: read the difference"


@pytest.mark.parametrize("version", [None, binaries.OLDEST], ids=["newest", "oldest"])
@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
async def test_envoy_accepts_it(case: Path, version: str | None, tmp_path: Path) -> None:
    state = read(case)
    for key, workload in sorted(state.workloads.items()):
        if not workload.meshed:
            continue
        identity = workload.identity(TRUST_DOMAIN).uri
        authority = TestAuthority()
        secrets = (*authority.secrets(identity), *edge_secrets(state, authority))
        bootstrap = assemble(rendered(state, str(key)), secrets)
        path = tmp_path / f"{key.namespace}-{key.name}.json"
        path.touch(mode=0o600)
        path.write_text(MessageToJson(bootstrap))
        # The oldest passes over what it does not know yet, as it does in what comes by xDS.
        await validate(Path(binaries.envoy(version)), path, unknown_fields=version is not None)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_a_second_decoder_reads_the_same(case: Path) -> None:
    state = read(case)
    for key, workload in state.workloads.items():
        if workload.meshed:
            for each in rendered(state, str(key)):
                assert differences(each) == []
