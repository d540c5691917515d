"""Where the authority's passphrase comes from, and what is said when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshwright.errors import SettingsError
from meshwright.passphrase import passphrase
from meshwright.settings import Settings, load

LONG = "correct horse battery staple"


def settings(tmp_path: Path, **options: Any) -> Settings:
    return load(None, {"documents": tmp_path, **options})


def a_file(tmp_path: Path, content: str, mode: int = 0o600) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_from_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert passphrase(settings(tmp_path)) is None
    file = a_file(tmp_path, f"{LONG}\n")
    assert passphrase(settings(tmp_path, ca_passphrase_file=file)) == LONG.encode()
    assert passphrase(settings(tmp_path, ca_passphrase_command=["cat", str(file)])) == LONG.encode()
    monkeypatch.setenv("MESHWRIGHT_CA_PASSPHRASE", LONG)
    found = settings(tmp_path)
    assert passphrase(found) == LONG.encode()
    assert LONG not in repr(found)


def test_the_command_sees_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path, ca_passphrase_command=["env"])
    monkeypatch.setenv("MESHWRIGHT_CA_PASSPHRASE", LONG)
    monkeypatch.setenv("MESHWRIGHT_TOKEN", LONG)
    monkeypatch.setenv("KEY_SERVICE_TOKEN", "what it needs")
    said = passphrase(given)
    assert said is not None
    assert b"KEY_SERVICE_TOKEN=what it needs" in said.splitlines()
    assert b"MESHWRIGHT_" not in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ca_passphrase": "short"}, "ca_passphrase: the passphrase has 5 bytes: 16 and more"),
        ({"ca_passphrase_file": "/nowhere"}, "ca_passphrase_file: .*No such file"),
        ({"ca_passphrase_command": ["/nowhere"]}, "/nowhere cannot be run: FileNotFoundError"),
        (
            {"ca_passphrase_command": ["sh", "-c", f"echo {LONG}; echo locked >&2; exit 3"]},
            "sh ended with 3: locked$",
        ),
        ({"ca_passphrase_command": ["true"]}, "has 0 bytes"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        passphrase(settings(tmp_path, **options))
    assert "horse" not in str(caught.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="mode 0644"):
        passphrase(settings(tmp_path, ca_passphrase_file=a_file(tmp_path, LONG, 0o644)))


def test_two_places_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set one of ca_passphrase"):
        settings(tmp_path, ca_passphrase=LONG, ca_passphrase_file=a_file(tmp_path, LONG))
