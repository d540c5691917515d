"""archive.py --name NAME --config JSON (--root FOLDER | --layer FILE)... OUT.tar: a container image without a registry or a daemon.

An OCI image layout (image-spec, image-layout.md) in one tar, as `ctr images import` and `docker load` (25 and newer) read it. Each
`--root` becomes a layer, each `--layer` is a tar that is one already, the lowest first. `--known FILE` names the digests that the
reader has got (a line each): they are left out. The same input makes the same bytes.

    python3 archive.py layer FOLDER OUT.tar     a layer alone, to be kept for later images
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

TAR = (
    "tar",
    "--numeric-owner",
    "--sort=name",
    "--mtime=@0",
    "--exclude=./dev/*",
    "--exclude=./proc/*",
    "--exclude=./sys/*",
)


def pack(root: pathlib.Path, out: pathlib.Path) -> None:
    """All of `root` as a layer. Times are zero, so that they change no digest; owners and modes are kept."""
    part = out.with_suffix(".part")
    subprocess.run([*TAR, "-C", root, "-cf", part, "."], check=True)
    part.rename(out)


def digest(path: pathlib.Path) -> str:
    """The digest of a file, kept beside it: a layer of hundreds of megabytes is read once."""
    kept = path.with_suffix(".digest")
    if not kept.exists() or kept.stat().st_mtime_ns < path.stat().st_mtime_ns:
        with path.open("rb") as file:
            kept.write_text(hashlib.file_digest(file, "sha256").hexdigest())
    return kept.read_text()


def image(
    name: str, config: dict[str, object], layers: list[pathlib.Path], known: set[str], out: pathlib.Path
) -> str:
    """Write the archive; the digest of its manifest."""
    digests = [digest(each) for each in layers]
    blobs: dict[str, bytes] = {}

    def blob(content: dict[str, object], media: str) -> dict[str, object]:
        data = json.dumps(content, sort_keys=True).encode()
        made = hashlib.sha256(data).hexdigest()
        blobs[made] = data
        return {"mediaType": media, "digest": f"sha256:{made}", "size": len(data)}

    described = blob(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in digests]},
        },
        "application/vnd.oci.image.config.v1+json",
    )
    manifest = blob(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described,
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": f"sha256:{made}",
                    "size": each.stat().st_size,
                }
                for made, each in zip(digests, layers, strict=True)
            ],
        },
        "application/vnd.oci.image.manifest.v1+json",
    )
    named = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "manifests": [{**manifest, "annotations": named}]}
    with tarfile.open(out, "w") as archive:

        def add(path: str, data: bytes) -> None:
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add("index.json", json.dumps(index, sort_keys=True).encode())
        for made, data in blobs.items():
            add(f"blobs/sha256/{made}", data)
        for made, each in dict(zip(digests, layers, strict=True)).items():
            if made not in known:
                archive.add(each, f"blobs/sha256/{made}", filter=_anonymous)
    return str(manifest["digest"])


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what differs from file to file with the same content."""
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    return member


def main() -> None:
    if sys.argv[1:2] == ["layer"]:
        pack(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
        return
    given = argparse.ArgumentParser(description="A container image from folders.")
    given.add_argument("--name", required=True)
    given.add_argument("--config", type=json.loads, default={})
    given.add_argument("--root", dest="layers", action="append", type=pathlib.Path)
    given.add_argument("--layer", dest="layers", action="append", type=pathlib.Path)
    given.add_argument("--known", type=pathlib.Path)
    given.add_argument("out", type=pathlib.Path)
    asked = given.parse_args()
    known = (
        {line.removeprefix("sha256:") for line in asked.known.read_text().split()} if asked.known else set()
    )
    with tempfile.TemporaryDirectory(dir=asked.out.parent) as work:
        layers = []
        for number, each in enumerate(asked.layers):
            layer = each
            if each.is_dir():
                layer = pathlib.Path(work, f"{number}.tar")
                pack(each, layer)
            layers.append(layer)
        print(image(asked.name, asked.config, layers, known, asked.out))


if __name__ == "__main__":
    main()
