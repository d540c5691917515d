"""Where rollouts outlive the control plane: a file of the data directory, replaced whole before anything of a change is published."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

import structlog

from ca import files
from meshwright.rollout.record import Kept, Rollout, decode, encode

FILE: Final = "rollouts.json"
ENDED: Final = 50
"""Rollouts that are over, and still told of."""

log = structlog.get_logger(__name__)


class Records(Protocol):
    """Methods block: call them in a thread, one at a time."""

    def load(self) -> Kept:
        """What was saved last, as far as it can be read; a line in the log says what cannot."""
        ...

    def save(self, kept: Kept) -> None:
        """OSError if the disk does not take it; what was saved before is then still there."""
        ...


class FileRecords:
    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE

    def load(self) -> Kept:
        for leftover in self._path.parent.glob(f".{FILE}.*{files.TEMPORARY_SUFFIX}"):
            leftover.unlink(missing_ok=True)  # of one that was killed while it wrote
        try:
            content = self._path.read_bytes()
            kept = decode(content)
        except FileNotFoundError:
            return Kept()
        except (OSError, ValueError) as error:
            aside = self._path.with_name(self._path.name + ".corrupt")
            log.warning(
                "the rollouts that were on cannot be read: their changes are in force for everybody",
                file=str(self._path),
                reason=str(error),
                kept_as=str(aside),
            )
            if isinstance(error, ValueError):
                self._path.replace(aside)
            return Kept()
        if kept.lost or kept.in_force:
            aside = self._path.with_name(self._path.name + ".unread")
            log.warning(
                "of the rollouts that were kept, some cannot be read by this version",
                file=str(self._path),
                left_out=list(kept.lost),
                in_force_for_everybody=list(kept.in_force),
                kept_as=str(aside),
            )
            try:
                files.write_atomically(aside, content)
            except OSError as error:
                log.warning("they are not kept aside", file=str(aside), reason=str(error))
        return kept

    def save(self, kept: Kept) -> None:
        files.write_atomically(self._path, encode(kept))


def shortened(rollouts: Iterable[Rollout]) -> tuple[Rollout, ...]:
    """Without those that have been over for the longest."""
    every = sorted(rollouts, key=lambda each: each.started)
    over = sorted((each for each in every if not each.holding), key=lambda each: each.ended or 0.0)
    gone = {each.id for each in over[:-ENDED]}
    return tuple(each for each in every if each.id not in gone)
