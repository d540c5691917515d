"""What is known of a move between trust domains, on disk: `<data directory>/ca/trust-domains.json`, 0600, replaced whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from ca import files
from ca.errors import DamagedAuthority
from ca.move import Known

STATE: Final = "trust-domains.json"

_SHAPE = TypeAdapter(Known)


def load(directory: Path) -> Known | None:
    """What was saved in `directory`; None if nothing was. DamagedAuthority if it cannot be read."""
    path = directory / STATE
    try:
        content = files.read_private(path)
    except FileNotFoundError:
        return None
    try:
        return _SHAPE.validate_json(content)
    except ValidationError as error:
        raise DamagedAuthority(
            f"{path} does not say which trust domains the mesh knows: restore {directory} whole from one backup"
        ) from error


def save(directory: Path, known: Known) -> None:
    """Put `known` on the disk. OSError leaves the one before."""
    files.write_atomically(directory / STATE, _SHAPE.dump_json(known, indent=1))
