"""Write `deploy/kubernetes/crds/`, a file for each of our kinds. `make crds` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

from meshwright.kubernetes.crds import crds
from meshwright.kubernetes.install.printed import dumped


def files() -> dict[str, str]:
    """What is to stand there, by name."""
    return {f"{each['metadata']['name']}.yaml": dumped(each) for each in crds()}


def write(folder: Path) -> None:
    """Make `folder` hold exactly these."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = files()
    for path in folder.glob("*.yaml"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
