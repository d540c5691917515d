"""Images made without a daemon: the same input makes the same image, and what the reader has got is left out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.binaries import ROOT

ARCHIVE = ROOT / "scripts" / "kubernetes" / "archive.py"


def make(out: Path, *arguments: str | Path) -> str:
    """The digest of the manifest, as the program says it."""
    command = (sys.executable, ARCHIVE, "--name", "kube.local/x:1", *arguments, out)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def a_root(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "hello").write_text("#!/bin/sh\necho hello\n")
    (folder / "bin" / "hello").chmod(0o755)
    return folder


def blob(archive: tarfile.TarFile, digest: str) -> bytes:
    found = archive.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}")
    assert found is not None
    return found.read()


def test_what_is_in_it_has_the_digests_that_it_is_called_by(tmp_path: Path) -> None:
    made = make(tmp_path / "a.tar", "--config", '{"User": "10001"}', "--root", a_root(tmp_path / "root"))
    with tarfile.open(tmp_path / "a.tar") as archive:
        manifest = json.loads(blob(archive, made))
        config = json.loads(blob(archive, manifest["config"]["digest"]))
        (layer,) = manifest["layers"]
        data = blob(archive, layer["digest"])
    assert config["config"] == {"User": "10001"}
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert layer["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert layer["size"] == len(data)


def test_times_and_places_change_nothing(tmp_path: Path) -> None:
    one, other = a_root(tmp_path / "one"), a_root(tmp_path / "other")
    os.utime(other / "bin" / "hello", (1, 1))
    first = make(tmp_path / "1.tar", "--root", one)
    assert make(tmp_path / "2.tar", "--root", other) == first
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    (other / "bin" / "hello").write_text("#!/bin/sh\necho goodbye\n")
    assert make(tmp_path / "3.tar", "--root", other) != first


def test_a_layer_that_the_reader_has_is_left_out(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    subprocess.run([sys.executable, ARCHIVE, "layer", a_root(tmp_path / "root"), layer], check=True)
    whole = make(tmp_path / "whole.tar", "--layer", layer)
    known = tmp_path / "known"
    known.write_text(f"sha256:{hashlib.sha256(layer.read_bytes()).hexdigest()}\n")
    assert make(tmp_path / "thin.tar", "--known", known, "--layer", layer) == whole
    with tarfile.open(tmp_path / "whole.tar") as archive, tarfile.open(tmp_path / "thin.tar") as thin:
        missing = set(archive.getnames()) - set(thin.getnames())
    assert missing == {f"blobs/sha256/{known.read_text().strip().removeprefix('sha256:')}"}
