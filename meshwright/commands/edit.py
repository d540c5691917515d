"""`meshwright edit`: a document in your editor. Whatever goes wrong, the text that you wrote is kept."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshwright.commands.documents import KindArgument, NameArgument, NamespaceOption, ReasonOption
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote
from meshwright.commands.written import WaitOption, WithinOption

if TYPE_CHECKING:
    from meshwright.api_client import Answer, Api

HEADING = "# Save and leave the editor to write it; leave it unchanged to write nothing. Lines with # at the top are left out.\n"


@remote
async def edit(
    api: Api,
    kind: KindArgument,
    name: NameArgument,
    namespace: NamespaceOption = None,
    reason: ReasonOption = "",
    wait: WaitOption = False,
    within: WithinOption = "30s",
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a document in $VISUAL or $EDITOR. It is written only if nobody has changed it meanwhile.

    What is refused comes back into the editor with what is wrong; leave it unchanged to give up. Your text is kept.
    """
    from api.shapes.documents import WriteAnswer
    from meshwright.api_client import path
    from meshwright.commands.documents import authored, split
    from meshwright.commands.kinds import kind_of
    from meshwright.commands.output import as_yaml, tell
    from meshwright.commands.written import conclude
    from meshwright.errors import ConflictError

    where = path("documents", kind_of(kind), *split(name, namespace or api.namespace))
    found = await api.get(where)
    status = found.body.get("status") or {}
    if status.get("readOnly"):
        raise ConflictError(
            f"{kind_of(kind)} {name} is read-only: it is of {status.get('file') or 'a file'}; change it there"
        )
    text = as_yaml(authored(found.body))
    file = _file(f"{HEADING}{text}", name.replace("/", "-"))
    try:
        answer = await _edited(api, where, found, file, text, reason)
    except BaseException:
        if _body(file.read_text()) == text:
            file.unlink()
        else:
            tell(f"your text is kept in {file}")
        raise
    file.unlink()
    if answer is None:
        tell("nothing was changed")
        return
    await conclude(api, api.model(WriteAnswer, answer.body), output, wait=wait, within=within)


async def _edited(api: Api, where: str, found: Answer, file: Path, text: str, reason: str) -> Answer | None:
    """Into the editor, and back into it for as long as it is refused and changed. None if nothing was changed."""
    from meshwright.errors import ConflictError, ForbiddenError, NotFoundError, RefusedError

    editor, before = _editor(), text
    while True:
        await _open(editor, file)
        written = _body(file.read_text())
        if written == text:
            return None
        try:
            return await _write(api, where, file, found, reason)
        except (ConflictError, NotFoundError, ForbiddenError):
            raise  # Another text would not help.
        except RefusedError as error:
            if written == before:
                raise
            before = written
            problem = "".join(f"# {line}\n" for line in str(error).splitlines())
            file.write_text(f"# It was refused:\n{problem}{HEADING}{written}")


async def _write(api: Api, where: str, file: Path, found: Answer, reason: str) -> Answer:
    """If nobody has changed it meanwhile: ConflictError, with the way out, if somebody has."""
    from meshwright.commands.documents import key_of
    from meshwright.commands.files import read
    from meshwright.errors import ConflictError, RefusedError

    given = read([str(file)])
    if len(given) != 1 or key_of(given[0].tree)[::2] != key_of(found.body)[::2]:
        raise RefusedError(
            "one document is edited, and its kind and name stay: use `apply -f` for another one"
        )
    tree: dict[str, Any] = given[0].tree
    try:
        return await api.send(
            "PUT",
            where,
            tree,
            query={"reason": reason or None},
            headers={"If-Match": f'"{found.etag}"'} if found.etag else {},
        )
    except ConflictError as error:
        raise ConflictError(
            f"{error}: edit it again, or compare by `meshwright diff -f {file}`", error.problem
        ) from error


def _body(text: str) -> str:
    """Without the comments at the top, which are ours."""
    lines = text.splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    return "".join(lines)


def _file(text: str, name: str) -> Path:
    """For nobody else's eyes."""
    descriptor, path = tempfile.mkstemp(prefix=f"meshwright-{name}-", suffix=".yaml")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return Path(path)


def _editor() -> list[str]:
    from meshwright.errors import UsageError

    for variable in ("VISUAL", "EDITOR"):
        if os.environ.get(variable):
            return shlex.split(os.environ[variable])
    for name in ("sensible-editor", "nano", "vi"):
        if shutil.which(name):
            return [name]
    raise UsageError("there is no editor: set EDITOR, for example EDITOR=vi")


async def _open(editor: list[str], file: Path) -> None:
    from meshwright.errors import MeshwrightError

    sys.stdout.flush()
    try:
        ended = await asyncio.to_thread(subprocess.run, [*editor, str(file)], check=False)
    except OSError as error:
        raise MeshwrightError(f"the editor {editor[0]} cannot be started ({error}): set EDITOR") from error
    if ended.returncode:
        raise MeshwrightError(f"the editor ended with {ended.returncode}: nothing was written")
