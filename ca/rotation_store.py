"""The state of a rotation on disk: `<data directory>/ca/rotation.json`, 0600, replaced whole."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ca import files
from ca.errors import DamagedAuthority
from ca.rotation import Rotation

STATE = "rotation.json"

_SHAPE = TypeAdapter(Rotation)


def load(directory: Path) -> Rotation | None:
    """What was saved in `directory`; None if no rotation was ever begun there. DamagedAuthority if it cannot be read."""
    path = directory / STATE
    try:
        content = files.read_private(path)
    except FileNotFoundError:
        return None
    try:
        return _SHAPE.validate_json(content)
    except ValidationError as error:
        raise DamagedAuthority(
            f"{path} does not hold the state of a rotation: restore {directory} whole from one backup"
        ) from error


def save(directory: Path, rotation: Rotation) -> None:
    """Put `rotation` on the disk. OSError leaves the one before."""
    files.write_atomically(directory / STATE, _SHAPE.dump_json(rotation, indent=1))
