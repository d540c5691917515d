from __future__ import annotations

from pathlib import Path

import pytest

from envoy.errors import EnvoyNotFound, InstallFailed
from envoy.install import VERSION, find_envoy, install, installed, of_minor, require_envoy


def program(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    path.chmod(0o755)
    return path


def test_the_option_goes_before_the_environment_before_path_before_the_cache(tmp_path: Path) -> None:
    option, by_name, on_path = (program(tmp_path / name / "envoy") for name in ("option", "name", "path"))
    cached = program(tmp_path / "cache" / f"envoy-{VERSION}" / "envoy" / "_bin" / "envoy", 20_000_000)
    environ = {
        "ENVOY_BIN": str(by_name),
        "PATH": str(on_path.parent),
        "MESHWRIGHT_CACHE": str(tmp_path / "cache"),
    }
    assert find_envoy(option, environ) == option
    assert find_envoy(None, environ) == by_name
    del environ["ENVOY_BIN"]
    assert find_envoy(None, environ) == on_path
    environ["PATH"] = ""
    assert find_envoy(None, environ) == cached
    assert installed(VERSION, environ) == cached
    assert install(VERSION, environ) == cached
    assert find_envoy(None, {"MESHWRIGHT_CACHE": str(tmp_path / "empty")}) is None


def test_of_a_minor_version_the_newest_is_taken_and_no_other(tmp_path: Path) -> None:
    def cached(version: str) -> Path:
        return program(tmp_path / "cache" / f"envoy-{version}" / "envoy" / "_bin" / "envoy", 20_000_000)

    newest = [cached("1.36.4"), cached("1.36.9"), cached("1.36.10"), cached("1.39.0")][2]
    environ = {"PATH": "", "MESHWRIGHT_CACHE": str(tmp_path / "cache")}
    assert of_minor("1.36", environ) == newest
    assert of_minor("1.3", environ) is None
    other = tmp_path / "bin" / "envoy"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho envoy  version: abc/1.38.2/Clean/RELEASE\n")
    other.chmod(0o755)
    assert of_minor("1.38", {**environ, "ENVOY_BIN": str(other)}) == other
    assert of_minor("1.37", {**environ, "ENVOY_BIN": str(other)}) is None


def test_something_that_is_named_and_no_program_is_an_error_not_a_reason_to_look_elsewhere(
    tmp_path: Path,
) -> None:
    (tmp_path / "envoy").write_text("")
    with pytest.raises(EnvoyNotFound, match="--envoy"):
        find_envoy(tmp_path / "envoy", {})
    with pytest.raises(EnvoyNotFound, match="ENVOY_BIN"):
        find_envoy(None, {"ENVOY_BIN": str(tmp_path / "none")})


def test_none_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EnvoyNotFound, match="meshwright envoy install"):
        require_envoy(None, {"MESHWRIGHT_CACHE": str(tmp_path)})


@pytest.mark.parametrize("version", ["latest", "1.40.0; rm", "../x", ""])
def test_a_version_is_a_version(version: str, tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="is no version"):
        install(version, {"MESHWRIGHT_CACHE": str(tmp_path)})
