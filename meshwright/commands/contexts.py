"""Which control plane a command is for: options first, then the environment, then the file of named contexts, then this directory's.

The file is `~/.config/meshwright/config.yaml` (`XDG_CONFIG_HOME` and `MESHWRIGHT_CONFIG` are heeded):

    current: production
    contexts:
      production: {server: https://mesh.example:15013, tokenFile: /home/me/mesh.token, caFile: /home/me/roots.pem, namespace: shop}
      here: {dataDir: /var/lib/meshwright}
"""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from meshwright.errors import SettingsError, UsageError
from meshwright.targets import DEFAULT_DATA_DIR, OnThisMachine, OverHttps, Target

if TYPE_CHECKING:
    from meshwright.commands.context_file import Context, ContextFile

SERVER, DATA_DIR, CONTEXT = "MESHWRIGHT_SERVER", "MESHWRIGHT_DATA_DIR", "MESHWRIGHT_CONTEXT"
TOKEN_FILE, CA_FILE, CONFIG = "MESHWRIGHT_API_TOKEN_FILE", "MESHWRIGHT_CA_FILE", "MESHWRIGHT_CONFIG"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options say; None where they say nothing."""

    server: str | None = None
    data_dir: Path | None = None
    context: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """`namespace`: where a command names none. `by`: what decided, for people."""

    target: Target
    namespace: str = "default"
    by: str = ""


def choose(wanted: Wanted, environment: Mapping[str, str] = os.environ) -> Chosen:
    """UsageError if options contradict each other, or name a context that is not there."""
    named = [
        f"--{name}"
        for name, value in (
            ("server", wanted.server),
            ("data-dir", wanted.data_dir),
            ("context", wanted.context),
        )
        if value
    ]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} name different control planes: give one of them")
    if wanted.server:
        return Chosen(_over_https(wanted.server, wanted, environment), by="--server")
    if wanted.data_dir:
        return Chosen(OnThisMachine(wanted.data_dir), by="--data-dir")
    if wanted.context:
        return _by_context(wanted.context, wanted, environment, "--context")
    if url := environment.get(SERVER):
        return Chosen(_over_https(url, wanted, environment), by=SERVER)
    if directory := environment.get(DATA_DIR):
        return Chosen(OnThisMachine(Path(directory)), by=DATA_DIR)
    if name := environment.get(CONTEXT):
        return _by_context(name, wanted, environment, CONTEXT)
    if config_path(environment).exists():
        current = read(environment).current
        if current:
            return _by_context(current, wanted, environment, str(config_path(environment)))
    return Chosen(OnThisMachine(DEFAULT_DATA_DIR), by="the default")


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    if named := environment.get(CONFIG):
        return Path(named)
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "~") / ".config")
    return home.expanduser() / "meshwright" / "config.yaml"


def read(environment: Mapping[str, str] = os.environ) -> ContextFile:
    """Empty if there is no file. SettingsError, with the path inside it, if it is wrong."""
    import yaml
    from pydantic import ValidationError

    from meshwright.commands.context_file import ContextFile

    path = config_path(environment)
    try:
        return ContextFile.model_validate(yaml.load(path.read_text(), yaml.CSafeLoader) or {})
    except FileNotFoundError:
        return ContextFile()
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()
        )
        raise SettingsError(f"{path}: {said}: `meshwright context set` writes it as it should be") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error


def write(file: ContextFile, environment: Mapping[str, str] = os.environ) -> Path:
    """Replace the file whole; nobody else may read where tokens lie."""
    import yaml

    path = config_path(environment)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = yaml.safe_dump(
        file.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True), sort_keys=False
    )
    # Made 0600 from the start.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    with os.fdopen(descriptor, "w") as new:
        new.write(text)
    Path(name).replace(path)
    return path


def known(file: ContextFile, name: str, environment: Mapping[str, str] = os.environ) -> Context:
    """UsageError for a context that is not there."""
    if name in file.contexts:
        return file.contexts[name]
    there = ", ".join(sorted(file.contexts)) or "none"
    raise UsageError(
        f"there is no context {name!r} in {config_path(environment)} (there are: {there}): "
        f"make it by `meshwright context set {name} --server URL` or `--data-dir DIR`"
    )


def _by_context(name: str, wanted: Wanted, environment: Mapping[str, str], by: str) -> Chosen:
    context = known(read(environment), name, environment)
    if context.data_dir is not None:
        return Chosen(
            OnThisMachine(context.data_dir.expanduser()), context.namespace, f"context {name}, {by}"
        )
    url = context.server or ""
    base = OverHttps(
        checked(url), context.token_file, context.ca_file, context.certificate_file, context.key_file
    )
    target = OverHttps(
        base.url,
        wanted.token_file or _expanded(base.token_file),
        wanted.ca_file or _expanded(base.ca_file),
        _expanded(base.certificate_file),
        _expanded(base.key_file),
    )
    return Chosen(target, context.namespace, f"context {name}, {by}")


def _expanded(path: Path | None) -> Path | None:
    return path.expanduser() if path else None


def _over_https(url: str, wanted: Wanted, environment: Mapping[str, str]) -> OverHttps:
    token, authorities = environment.get(TOKEN_FILE), environment.get(CA_FILE)
    return OverHttps(
        checked(url),
        wanted.token_file or (Path(token) if token else None),
        wanted.ca_file or (Path(authorities) if authorities else None),
    )


def checked(url: str) -> str:
    """A token goes nowhere in clear, but to this machine."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
        raise UsageError(
            f"{url!r} is no address of a control plane: write for example https://mesh.example:15013"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _loopback(parts.hostname)):
        raise UsageError(f"{url!r}: a token would travel in clear: use https://")
    return f"{parts.scheme}://{parts.netloc}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
