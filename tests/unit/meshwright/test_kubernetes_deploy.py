"""deploy/ is what the code makes: one list of objects for `kubectl apply -k`, Helm and `meshwright install`."""

from __future__ import annotations

from pathlib import Path

import yaml

from meshwright.kubernetes.install.objects import objects
from meshwright.kubernetes.install.options import InstallOptions, parse
from meshwright.kubernetes.install.printed import installed, printed, uninstalled
from meshwright.kubernetes.install.write import CHART, files

DEPLOY = Path(__file__).parents[3] / "deploy"


def test_deploy_is_up_to_date() -> None:
    """`make manifests` writes it."""
    wanted = files()
    for path, text in wanted.items():
        assert (DEPLOY / path).read_text() == text, (
            f"deploy/{path} is not what the code makes: make manifests"
        )
    there = {str(path.relative_to(DEPLOY)) for path in (DEPLOY / CHART).rglob("*") if path.is_file()}
    assert there == {path for path in wanted if path.startswith(CHART)}


def test_the_kustomization_names_every_file() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    made = []
    for each in kustomization["resources"]:
        made += list(yaml.safe_load_all((DEPLOY / "kubernetes" / each).read_text()))
    key = lambda of: (of["kind"], of["metadata"]["name"])  # noqa: E731
    assert sorted(made, key=key) == sorted(installed(InstallOptions()), key=key)


def test_what_is_printed_is_read_back_as_it_was() -> None:
    made = installed(parse([]))
    assert list(yaml.safe_load_all(printed(made))) == made


def test_uninstall_names_all_that_install_made() -> None:
    made, gone = installed(parse([])), uninstalled(parse([]), crds=True)
    name = lambda of: (of["kind"], of["metadata"]["name"], of["metadata"].get("namespace"))  # noqa: E731
    assert sorted(map(name, made), key=str) == sorted(map(name, gone), key=str)
    kinds = [each["kind"] for each in gone]
    assert kinds[:2] == ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
    kept = uninstalled(parse([]), crds=False)
    assert not [each for each in kept if each["kind"] == "CustomResourceDefinition"]
    assert len(kept) == len(objects(parse([]), []))
