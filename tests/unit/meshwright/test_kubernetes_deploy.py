"""deploy/ is what the code makes: one list of objects for `kubectl apply -k`, Helm and `meshwright install`."""

from __future__ import annotations

from pathlib import Path

import yaml

from meshwright.kubernetes.install.objects import objects
from meshwright.kubernetes.install.options import InstallOptions, parse
from meshwright.kubernetes.install.printed import installed, printed, uninstalled
from meshwright.kubernetes.install.write import BASE, CHART, CRDS, files, write

DEPLOY = Path(__file__).parents[3] / "deploy"


def test_deploy_is_up_to_date() -> None:
    """`make manifests` writes it."""
    wanted = files()
    for path, text in wanted.items():
        assert (DEPLOY / path).read_text() == text, (
            f"deploy/{path} is not what the code makes: make manifests"
        )
    link = DEPLOY / CRDS
    there = {str(path.relative_to(DEPLOY)) for path in (DEPLOY / CHART).rglob("*") if path.is_file()}
    there = {path for path in there if not path.startswith(CRDS)}
    assert there == {path for path in wanted if path.startswith(CHART)}
    assert link.is_symlink()
    assert link.resolve() == (DEPLOY / BASE / "crds").resolve()


def test_it_is_written_as_it_stands(tmp_path: Path) -> None:
    """Also over a chart that held the definitions itself."""
    old = tmp_path / CRDS / "old.yaml"
    old.parent.mkdir(parents=True)
    old.write_text("")
    definitions = tmp_path / BASE / "crds" / "kept.yaml"
    definitions.parent.mkdir(parents=True)
    definitions.write_text("kept")
    for _ in range(2):
        write(tmp_path)
        assert (tmp_path / CRDS / "kept.yaml").read_text() == "kept"
        assert [path.name for path in (tmp_path / CRDS).iterdir()] == ["kept.yaml"]
    for path, text in files().items():
        assert (tmp_path / path).read_text() == text


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
