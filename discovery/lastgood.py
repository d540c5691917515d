"""The last good state of each source on disk, so that a start while a registry is down begins with what worked.

A file is one header line, `meshwright-lastgood 2 <SHA-256 of the rest>`, and JSON. It is replaced as a whole (written
aside, synced, renamed, folder synced) with mode 0600, and holds no secret. A file that is not one of ours, or not
whole, is set aside as `<name>.corrupt` and reported: it never stops a start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import tempfile
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from documents.envelope import Kind
from documents.parsing import parse
from mesh.events import Declared, SourceSnapshot
from mesh.namespaces import NAMESPACE, Namespace
from mesh.service import Service
from mesh.workload import Workload

MAGIC = b"meshwright-lastgood 2 "
SUFFIX = ".lastgood"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Saved:
    """`held`: some of the endpoints were held when it was written, against what the source said."""

    snapshot: SourceSnapshot
    held: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """`warning` says why there is nothing although there was a file, or None."""

    saved: Saved | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class _Text:
    """A document as it was written: it is read again by the rules of the day."""

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class _OnDisk:
    source: str
    services: tuple[Service, ...]
    workloads: tuple[Workload, ...]
    held: bool = False
    documents: tuple[_Text, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    """Declared without a text: a registry tells them."""


_ON_DISK = TypeAdapter(_OnDisk)


class LastGood:
    """A folder with a file for each source. Its methods block: call them in a thread, one at a time for a source."""

    def __init__(self, folder: pathlib.Path, kinds: tuple[Kind, ...] = ()) -> None:
        """`kinds`: those that documents other than services and workloads may have."""
        self._folder = folder
        self._kinds = kinds

    def load(self, source: str) -> Loaded:
        """What was saved last. Never raises: what can't be read is a warning."""
        path = self._path(source)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return Loaded()
        except OSError as error:
            return Loaded(
                warning=f"the last good state {path} cannot be read: {error.strerror}: check its owner and mode"
            )
        try:
            return self._loaded(path, _decode(content, source))
        except ValueError as error:
            aside = path.with_name(path.name + ".corrupt")
            warning = f"the last good state {path} is not used: {error}"
            try:
                path.replace(aside)
            except OSError as failure:
                return Loaded(warning=f"{warning}; nor can it be set aside: {failure.strerror}")
            return Loaded(warning=f"{warning}; it is kept as {aside} and may be removed")

    def save(self, source: str, saved: Saved) -> None:
        """Replace what was saved. OSError if the disk does not take it; the file is then what it was."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(source)
        body = _ON_DISK.dump_json(_on_disk(saved))
        # mkstemp makes files of mode 0600.
        descriptor, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
                file.flush()
                os.fsync(file.fileno())
            pathlib.Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                pathlib.Path(name).unlink()
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _loaded(self, path: pathlib.Path, stored: _OnDisk) -> Loaded:
        declared = [Declared(NAMESPACE, each, line=0) for each in stored.namespaces]
        lost: list[str] = []
        for each in stored.documents:
            # Lenient: it was in force, so whoever read it from its source was content with it.
            read = parse(each.file, each.text.encode(), self._kinds, lenient=True)
            declared.extend(read.declared())
            lost.extend(map(str, read.errors))
        snapshot = SourceSnapshot(stored.source, stored.services, stored.workloads, tuple(declared))
        warning = None
        if lost:
            warning = (
                f"some documents of the last good state {path} are no longer right: {'; '.join(lost[:3])}"
            )
        return Loaded(Saved(snapshot, stored.held), warning)

    def _path(self, source: str) -> pathlib.Path:
        safe = _UNSAFE.sub(lambda found: f"%{ord(found.group()):02x}", source)
        return self._folder / f"{safe}{SUFFIX}"


def _on_disk(saved: Saved) -> _OnDisk:
    told = saved.snapshot
    documents = tuple(
        _Text((each.value.origin or ("",))[0].partition("#")[0], each.text)
        for each in told.declared
        if each.kind != NAMESPACE
    )
    namespaces = tuple(each.value for each in told.declared if isinstance(each.value, Namespace))
    return _OnDisk(told.source, told.services, told.workloads, saved.held, documents, namespaces)


def _decode(content: bytes, source: str) -> _OnDisk:
    """ValueError, saying why, if `content` is not what `save` wrote for `source`."""
    header, newline, body = content.partition(b"\n")
    if not newline or not header.startswith(MAGIC):
        raise ValueError("it is not of this version of Meshwright")
    if header[len(MAGIC) :] != hashlib.sha256(body).hexdigest().encode():
        raise ValueError("its checksum does not match, so it is not whole")
    try:
        saved = _ON_DISK.validate_json(body)
    except ValidationError as error:
        raise ValueError(f"it does not hold a state: {error.errors(include_url=False)[0]['msg']}") from None
    if saved.source != source:
        raise ValueError(f"it is the state of the source {saved.source!r}")
    return saved
