from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ca.authority import TrustBundle
from mesh.identity import TrustDomains
from meshwright.errors import SettingsError
from meshwright.federation import Federation
from tests.support.ca_builders import an_authority

OWN, THEIRS, OTHERS = "a.example", "b.example", "c.example"


class Federated:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.list = folder / "federation.yaml"
        self.recorded: list[tuple[str, str]] = []

    def write(self, *trust_domains: dict[str, Any]) -> None:
        self.list.write_text(yaml.safe_dump({"trust_domains": list(trust_domains)}))

    def made(self) -> Federation:
        return Federation(
            self.list,
            TrustDomains(OWN),
            self.folder / "data",
            monotonic=lambda: 0.0,
            record=lambda event, fields: self.recorded.append((event.split()[-1], fields["trust_domain"])),
        )

    async def open(self) -> Federation:
        made = self.made()
        await made.open()
        return made

    def bundle(self, name: str) -> tuple[Path, TrustBundle]:
        authority = an_authority(self.folder / name, trust_domain=name)
        return authority.bundle_path, authority.roots()


@pytest.fixture
def federated(tmp_path: Path) -> Federated:
    return Federated(tmp_path)


async def test_without_a_list_there_is_nobody(tmp_path: Path) -> None:
    federation = Federation(None, TrustDomains(OWN), tmp_path, monotonic=lambda: 0.0)
    await federation.open()
    await federation.run(lambda: None)  # has nothing to do
    assert (federation.on, federation.bundles, federation.status()) == (False, (), {})


async def test_bundles_of_files_are_there_from_the_start(federated: Federated) -> None:
    path, bundle = federated.bundle(THEIRS)
    federated.write(
        {"name": THEIRS, "bundle_file": str(path)}, {"name": OTHERS, "bundle_file": "/nowhere.pem"}
    )
    federation = await federated.open()
    assert (federation.on, federation.bundles, federation.trust_domains) == (True, (bundle,), (THEIRS,))
    assert federated.recorded == [("taken", THEIRS)]
    assert federation.status()[OTHERS].startswith("nobody is let in: /nowhere.pem cannot be read")
    assert set(federation.ages()) == {THEIRS}


async def test_what_to_begin_with_where_there_is_an_endpoint(federated: Federated) -> None:
    path, bundle = federated.bundle(THEIRS)
    endpoint = {"url": "https://localhost:1/", "profile": "https_spiffe", "spiffe_id": f"spiffe://{THEIRS}/x"}
    federated.write({"name": THEIRS, "bundle_file": str(path), "endpoint": endpoint})
    assert (await federated.open()).bundles == (bundle,)


WRONG: dict[str, Any] = {
    "our own": [{"name": OWN, "bundle_file": "x"}],
    "one twice": [{"name": THEIRS, "bundle_file": "x"}, {"name": THEIRS, "bundle_file": "y"}],
    "no name": [{"bundle_file": "x"}],
    "a name that is none": [{"name": "B/..", "bundle_file": "x"}],
    "no place": [{"name": THEIRS}],
    "an unknown field": [{"name": THEIRS, "bundle_file": "x", "more": 1}],
    "no TLS": [{"name": THEIRS, "endpoint": {"url": "http://b.example/"}}],
    "an unknown profile": [{"name": THEIRS, "endpoint": {"url": "https://b.example/", "profile": "x"}}],
    "no identity": [{"name": THEIRS, "endpoint": {"url": "https://b.example/", "profile": "https_spiffe"}}],
    "an identity for nothing": [
        {"name": THEIRS, "endpoint": {"url": "https://b.example/", "spiffe_id": f"spiffe://{THEIRS}/x"}}
    ],
    "an identity of another": [
        {
            "name": THEIRS,
            "bundle_file": "x",
            "endpoint": {
                "url": "https://b.example/",
                "profile": "https_spiffe",
                "spiffe_id": f"spiffe://{OWN}/x",
            },
        }
    ],
    "nothing to begin with": [
        {
            "name": THEIRS,
            "endpoint": {
                "url": "https://b.example/",
                "profile": "https_spiffe",
                "spiffe_id": f"spiffe://{THEIRS}/x",
            },
        }
    ],
    "no list": 7,
}


@pytest.mark.parametrize("trust_domains", WRONG.values(), ids=WRONG)
async def test_a_wrong_list_is_no_start(federated: Federated, trust_domains: object) -> None:
    federated.list.write_text(yaml.safe_dump({"trust_domains": trust_domains}))
    with pytest.raises(SettingsError, match=r"federation\.yaml"):
        await federated.open()


@pytest.mark.parametrize("content", [None, b"\xff", b"a: [", b"[" * 5000, b"7", b"x" * 2_000_000])
async def test_what_is_no_list_is_no_start(federated: Federated, content: bytes | None) -> None:
    if content is not None:
        federated.list.write_bytes(content)
    with pytest.raises(SettingsError, match=r"federation\.yaml"):
        await federated.open()
