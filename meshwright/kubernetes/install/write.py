"""Write `deploy/`: the Kustomize base and the Helm chart, from the objects that `meshwright install` prints. `make manifests` runs it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from meshwright.commands.version import own
from meshwright.kubernetes.crds import crds
from meshwright.kubernetes.install.helm import chart
from meshwright.kubernetes.install.objects import objects
from meshwright.kubernetes.install.options import InstallOptions
from meshwright.kubernetes.install.printed import dumped, printed

BASE = "kubernetes"
CHART = "helm/meshwright"
CRDS = f"{CHART}/crds"
CRDS_LINK = "../../kubernetes/crds"
"""Helm reads, and packs, what a symbolic link leads to: the definitions are kept once."""


def files() -> dict[str, str]:
    """What is to stand in `deploy/`, by path. The definitions of our kinds (`kubernetes/crds/`) are written by `make crds`."""
    definitions = crds()
    made = [each for each in objects(InstallOptions(), definitions) if each not in definitions]
    custom = [f"crds/{each['metadata']['name']}.yaml" for each in definitions]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [*custom, "meshwright.yaml"],
    }
    return {
        f"{BASE}/kustomization.yaml": dumped(kustomization),
        f"{BASE}/meshwright.yaml": printed(made),
        **{f"{CHART}/{path}": text for path, text in chart(own(), definitions).items()},
    }


def write(deploy: Path) -> None:
    """Make `deploy` hold exactly these and the link, where the chart and the base are."""
    wanted = {deploy / path: text for path, text in files().items()}
    link = deploy / CRDS
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    for path in (deploy / CHART).rglob("*"):
        if path.is_file() and path not in wanted and link not in path.parents:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if not link.is_symlink():
        link.symlink_to(CRDS_LINK)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
