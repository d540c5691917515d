"""program.py TREE FOLDER CACHE - put Meshwright's packages, as pyproject.toml lists them for the wheel, into FOLDER, compiled.

The byte code goes with them, since a container has a read-only root: without it each start would compile two thousand modules.
It is kept in CACHE by the content of its source, so that after a change only what changed is compiled. Run it with the Python of the image.
"""

from __future__ import annotations

import hashlib
import pathlib
import py_compile
import shutil
import sys
import tomllib

METADATA = "Metadata-Version: 2.3\nName: meshwright\nVersion: {version}\n"


def put(source: pathlib.Path, target: pathlib.Path, shown: str, cache: pathlib.Path) -> None:
    """Copy one module with its byte code. Byte code that is never checked against its source has no times in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if source.suffix != ".py":
        return
    key = hashlib.sha256(shown.encode() + b"\0" + source.read_bytes()).hexdigest()
    kept = cache / key[:2] / f"{key}.{sys.implementation.cache_tag}.pyc"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        py_compile.compile(
            str(source),
            str(kept),
            shown,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    compiled = target.parent / "__pycache__" / f"{target.stem}.{sys.implementation.cache_tag}.pyc"
    compiled.parent.mkdir(exist_ok=True)
    shutil.copyfile(kept, compiled)


def main() -> None:
    tree, folder, cache = (pathlib.Path(each) for each in sys.argv[1:4])
    project = tomllib.loads((tree / "pyproject.toml").read_text("utf-8"))
    packages = sys.argv[4:] or project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for package in packages:
        for source in sorted((tree / package).rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts and source.suffix != ".pyi":
                name = str(source.relative_to(tree))
                put(source, folder / name, f"/opt/meshwright/{name}", cache)
    version = project["project"]["version"]
    metadata = folder / f"meshwright-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True, exist_ok=True)
    metadata.write_text(METADATA.format(version=version))


if __name__ == "__main__":
    main()
