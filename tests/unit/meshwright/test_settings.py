"""Settings: where they come from, what is refused, and that the documentation lists them all."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshwright.cli import app
from meshwright.errors import SettingsError
from meshwright.settings import load, unknown_variables
from meshwright.settings_doc import table
from tests.support.binaries import ROOT


def test_the_documentation_lists_every_setting() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == table(), "run `make settings-doc`"


def test_every_option_of_the_documentation_exists() -> None:
    shown = (
        CliRunner()
        .invoke(app, ["serve", "--help"], env={"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"})
        .output
    )
    for line in table().splitlines():
        cells = line.split("|")
        if len(cells) > 3 and cells[2].strip().startswith("`--"):
            assert cells[2].strip().strip("`") in shown


def test_options_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("documents: /from-file\ntrust_domain: file.example\nlog_level: debug\n")
    monkeypatch.setenv("MESHWRIGHT_TRUST_DOMAIN", "env.example")
    monkeypatch.setenv("MESHWRIGHT_LOG_LEVEL", "error")
    settings = load(file, {"log_level": "warning"})
    assert (str(settings.documents), settings.trust_domain, settings.log_level) == (
        "/from-file",
        "env.example",
        "warning",
    )


def test_part_of_consul_from_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("consul: {url: 'http://127.0.0.1:8500', datacenter: dc1}\n")
    monkeypatch.setenv("MESHWRIGHT_CONSUL__TOKEN", "not-to-be-shown")
    settings = load(file, {})
    assert settings.consul is not None
    assert settings.consul.acl_token() == "not-to-be-shown"
    assert "not-to-be-shown" not in repr(settings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"store": "none"}, "no source of services"),
        ({"documents": "/x", "store": "redis://x"}, "setting store: "),
        (
            {"documents": "/x", "xds_address": "15010"},
            "options: setting xds_address: is not HOST:PORT",
        ),
        ({"documents": "/x", "plaintext_address": "0.0.0.0:1"}, "loopback"),
        ({"documents": "/x", "trust_domain": "Not A Domain"}, "trust_domain"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(options: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("1h", 3600), ("90s", 90), ("1h30m", 5400), ("7d", 604_800), (60, 60), ("P1D", 86_400)],
)
def test_a_duration_is_written_as_elsewhere(given: object, seconds: int) -> None:
    settings = load(None, {"documents": "d", "certificate_lifetime": given})
    assert settings.certificate_lifetime.total_seconds() == seconds


def test_an_unknown_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("documents: /x\ntrust_domian: x\n")
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert str(caught.value) == f"file {file}: unknown setting trust_domian: did you mean trust_domain?"


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHWRIGHT_HOLD", "soon")
    with pytest.raises(SettingsError, match="environment variable MESHWRIGHT_HOLD: setting hold"):
        load(None, {"documents": "/x"})


def test_variables_that_are_no_settings_are_found() -> None:
    given = [
        "MESHWRIGHT_TRUSTDOMAIN",
        "MESHWRIGHT_TRUST_DOMAIN",
        "MESHWRIGHT_CONSUL__URL",
        "MESHWRIGHT_BUNDLE",
        "PATH",
    ]
    assert unknown_variables(given) == ["MESHWRIGHT_TRUSTDOMAIN"]
