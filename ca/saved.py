"""Values that the authority keeps on disk beside its keys: each in a file of its own below `<data directory>/ca`, 0600, replaced whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from ca import files
from ca.errors import DamagedAuthority
from ca.move import Known
from ca.rotation import Rotation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Saved(Generic[T]):
    """The file `name`, which holds a value of `shape`; `wanting` says what is wrong with one that does not."""

    name: str
    shape: type[T]
    wanting: str
    _adapter: TypeAdapter[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_adapter", TypeAdapter(self.shape))

    def load(self, directory: Path) -> T | None:
        """What was saved in `directory`; None if nothing ever was. DamagedAuthority if it cannot be read."""
        path = directory / self.name
        try:
            content = files.read_private(path)
        except FileNotFoundError:
            return None
        try:
            read: T = self._adapter.validate_json(content)
        except ValidationError as error:
            raise DamagedAuthority(
                f"{path} {self.wanting}: restore {directory} whole from one backup"
            ) from error
        return read

    def save(self, directory: Path, value: T) -> None:
        """Put `value` on the disk. OSError leaves the one before."""
        files.write_atomically(directory / self.name, self._adapter.dump_json(value, indent=1))


ROTATION: Final = Saved("rotation.json", Rotation, "does not hold the state of a rotation")
MOVE: Final = Saved("trust-domains.json", Known, "does not say which trust domains the mesh knows")
