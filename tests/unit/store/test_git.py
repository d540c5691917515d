"""The commit of a directory of documents, by the real Git."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from functools import partial
from pathlib import Path

import pytest

from store.directory import Directory
from store.git import GitReader, WorkingTree
from tests.support.processes import eventually

DOCUMENT = "apiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{name: http, port: 80}]}\n"


def git(folder: Path, *command: str) -> str:
    settings = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    ran = subprocess.run(["git", *settings, *command], cwd=folder, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder in a working tree with one commit."""
    folder = tmp_path / "tree" / "documents"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(DOCUMENT % "a")
    git(folder.parent, "init", "--quiet", "--initial-branch", "main")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "--message", "first")
    return folder


def test_the_commit_and_whether_documents_differ_from_it(documents: Path) -> None:
    reader, first = GitReader(documents), git(documents, "rev-parse", "HEAD")
    assert reader.look(changed=False) == WorkingTree(first, "main", changed=False)
    (documents / "b.yaml").write_text(DOCUMENT % "b")
    assert reader.look(changed=True) == WorkingTree(first, "main", changed=True)
    git(documents, "add", ".")
    git(documents, "commit", "--quiet", "--message", "second")
    # Nothing of the documents has changed; Git's own files have.
    second = reader.look(changed=False)
    assert second == WorkingTree(git(documents, "rev-parse", "HEAD"), "main", changed=False)
    git(documents, "checkout", "--quiet", "--detach", first)
    assert str(reader.look(changed=False)) == f"commit {first[:12]}"
    (documents.parent / "elsewhere.txt").write_text("no document")
    assert str(reader.look(changed=True)) == f"commit {first[:12]}"


def test_a_worktree_and_a_repository_without_commits(documents: Path, tmp_path: Path) -> None:
    git(documents, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "other"))
    found = GitReader(tmp_path / "other" / "documents").look(changed=False)
    assert found is not None
    assert (found.branch, found.changed) == ("other", False)
    (tmp_path / "new").mkdir()
    git(tmp_path / "new", "init", "--quiet", "--initial-branch", "main")
    assert str(GitReader(tmp_path / "new").look(changed=False)) == "no commit (main)"


def test_where_there_is_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documents: Path) -> None:
    assert GitReader(tmp_path).look(changed=False) is None
    assert GitReader(tmp_path / "none").look(changed=False) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert GitReader(documents).look(changed=False) is None


async def test_a_directory_knows_it(documents: Path) -> None:
    directory = Directory(documents, rescan=0.05)

    async def known(*, changed: bool) -> bool:
        return directory.tree is not None and directory.tree.changed is changed

    async def follow() -> None:
        async for _ in directory:
            pass

    following = asyncio.create_task(follow())
    await eventually(partial(known, changed=False), "the commit is known")
    (documents / "b.yaml").write_text(DOCUMENT % "b")
    await eventually(partial(known, changed=True), "it differs from the commit")
    git(documents, "add", ".")
    git(documents, "commit", "--quiet", "--message", "second")
    await eventually(partial(known, changed=False), "the new commit is known")
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
