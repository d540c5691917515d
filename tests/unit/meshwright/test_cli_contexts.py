"""Which control plane a command is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshwright.commands.context_file import Context, ContextFile
from meshwright.commands.contexts import Wanted, choose, config_path, write
from meshwright.errors import SettingsError, UsageError
from meshwright.targets import DEFAULT_DATA_DIR, OnThisMachine, OverHttps


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    made = {"XDG_CONFIG_HOME": str(tmp_path)}
    contexts = {
        "shop": Context(server="https://mesh.test:1", token_file=Path("~/t"), namespace="shop"),
        "here": Context(data_dir=tmp_path / "data"),
    }
    write(ContextFile(current="shop", contexts=contexts), made)
    return made


def test_without_anything_it_is_the_data_directory_of_this_folder(tmp_path: Path) -> None:
    assert choose(Wanted(), {"HOME": str(tmp_path)}).target == OnThisMachine(DEFAULT_DATA_DIR)


def test_the_current_context_brings_its_namespace(environment: dict[str, str]) -> None:
    chosen = choose(Wanted(), environment)
    assert chosen.target == OverHttps("https://mesh.test:1", Path("~/t").expanduser())
    assert chosen.namespace == "shop"


def test_the_environment_comes_before_the_file_and_options_before_both(environment: dict[str, str]) -> None:
    environment |= {"MESHWRIGHT_SERVER": "other.test", "MESHWRIGHT_API_TOKEN_FILE": "/t"}
    assert choose(Wanted(), environment).target == OverHttps("https://other.test", Path("/t"))
    by_option = choose(Wanted(context="here"), environment).target
    assert by_option == OnThisMachine(config_path(environment).parent.parent / "data")
    assert choose(Wanted(data_dir=Path("d")), environment).target == OnThisMachine(Path("d"))


def test_an_option_replaces_what_a_context_says(environment: dict[str, str]) -> None:
    target = choose(Wanted(context="shop", ca_file=Path("/ca")), environment).target
    assert target == OverHttps("https://mesh.test:1", Path("~/t").expanduser(), Path("/ca"))


def test_two_options_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="--server and --data-dir"):
        choose(Wanted(server="https://a", data_dir=Path("d")), {})


def test_a_context_that_is_not_there_names_those_that_are(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"there are: here, shop"):
        choose(Wanted(context="shp"), environment)


@pytest.mark.parametrize("url", ["http://mesh.test:1", "http://[::2]"])
def test_a_token_never_travels_in_clear(url: str) -> None:
    with pytest.raises(UsageError, match="in clear"):
        choose(Wanted(server=url), {})


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"])
def test_but_to_this_machine(url: str) -> None:
    assert choose(Wanted(server=url), {}).target == OverHttps(url)


@pytest.mark.parametrize("url", ["https://a/b", "https://", "https://u:p@a"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        choose(Wanted(server=url), {})


def test_a_wrong_file_says_where(environment: dict[str, str]) -> None:
    config_path(environment).write_text("contexts: {a: {serverr: x}}")
    with pytest.raises(SettingsError, match=r"contexts\.a\.serverr"):
        choose(Wanted(), environment)


def test_the_file_is_its_owners(environment: dict[str, str]) -> None:
    assert config_path(environment).stat().st_mode & 0o777 == 0o600
