"""Hatch hook: make `pb/`, our private package of Envoy v3 messages and of our own protocols.

The distribution `xds-protos` holds every Envoy message on upb, but installs top-level packages called `envoy` and
`xds`, which are names of ours. So its generated code is taken at build time, moved under `pb/` with its imports
rewritten, and given type stubs by feeding the descriptors to mypy-protobuf. `xds-protos` is never imported: the
descriptors are read out of its source text. Our own `.proto` files (`proto/`) go through grpcio-tools into the
same tree. Nothing generated is committed.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib
import importlib.metadata as md
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, outside a build
    BuildHookInterface = object

PKG = "pb"
# Files of these folders come from distributions of their own: the one descriptor pool takes no second copy.
EXTERNAL = (
    "google/protobuf/",
    "google/rpc/",
    "google/api/annotations",
    "google/api/http",
    "opentelemetry/proto/",
)
TAKEN = ("envoy", "xds", "udpa", "validate", "cel", "opencensus", "google/api/expr")
BLOB = re.compile(r"AddSerializedFile\((b(['\"]).*\2)\)\s*$", re.MULTILINE)
IMPORT = re.compile(
    r"^(\s*)(from|import) ((?:envoy|xds|udpa|validate|cel|opencensus|meshwright|google\.api\.expr)\b)",
    re.MULTILINE,
)
QUALIFIED = re.compile(
    r"(?<![\w.'\"/])((?:envoy|xds|udpa|validate|cel|opencensus|meshwright)(?:\.\w+)*\.\w+_pb2)\b"
)


def descriptor(base: pathlib.Path, name: str) -> FileDescriptorProto:
    """The FileDescriptorProto of `name`, from xds-protos' source text, or from the distribution it belongs to."""
    from google.protobuf import descriptor_pb2

    found = descriptor_pb2.FileDescriptorProto()
    module = name.removesuffix(".proto") + "_pb2"
    source = base / (module + ".py")
    blob = BLOB.search(source.read_text("utf-8")) if source.exists() else None
    if blob is None:
        importlib.import_module(module.replace("/", ".")).DESCRIPTOR.CopyToProto(found)
    else:
        found.ParseFromString(ast.literal_eval(blob.group(1)))
    return found


def with_dependencies(base: pathlib.Path, roots: list[str]) -> dict[str, FileDescriptorProto]:
    """Every file that `roots` need, dependencies first."""
    done: dict[str, FileDescriptorProto] = {}
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        file = descriptor(base, name)
        for needed in file.dependency:
            visit(needed)
        done[name] = file

    for root in roots:
        visit(root)
    return done


def take_envoy(base: pathlib.Path, out: pathlib.Path) -> None:
    roots = sorted(
        str(path.relative_to(base)).replace("_pb2.py", ".proto")
        for top in TAKEN
        for path in (base / top).rglob("*_pb2.py")
    )
    files = with_dependencies(base, [r for r in roots if not r.startswith(EXTERNAL)])
    mine = [name for name in files if not name.startswith(EXTERNAL)]
    with_grpc = []
    for name in mine:
        for suffix in ("_pb2.py", "_pb2_grpc.py"):
            source, target = (
                base / (name.removesuffix(".proto") + suffix),
                out / (name.removesuffix(".proto") + suffix),
            )
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
                if suffix == "_pb2_grpc.py" and files[name].service:
                    with_grpc.append(name)
    stubs(files, mine, "main", "quiet", out)
    stubs(files, with_grpc, "grpc", "quiet,only_async", out)


def compile_ours(root: pathlib.Path, out: pathlib.Path) -> None:
    sources = sorted(str(path.relative_to(root / "proto")) for path in (root / "proto").rglob("*.proto"))
    if not sources:
        return
    from google.protobuf import descriptor_pb2

    with tempfile.TemporaryDirectory() as scratch:
        described = pathlib.Path(scratch) / "set"
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{root / 'proto'}", f"--python_out={out}",
             f"--grpc_python_out={out}", f"--descriptor_set_out={described}", "--include_imports", *sources],
            check=True,
        )  # fmt: skip
        files = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes())
    by_name = {file.name: file for file in files.file}
    stubs(by_name, sources, "main", "quiet", out)
    stubs(by_name, sources, "grpc", "quiet,only_async", out)


def stubs(
    files: dict[str, FileDescriptorProto], names: list[str], plugin: str, options: str, out: pathlib.Path
) -> None:
    """Run a plugin of mypy-protobuf without protoc: CodeGeneratorRequest in, CodeGeneratorResponse out."""
    from google.protobuf.compiler import plugin_pb2

    request = plugin_pb2.CodeGeneratorRequest(
        file_to_generate=names, parameter=options, proto_file=files.values()
    )
    ran = subprocess.run(
        [sys.executable, "-c", f"from mypy_protobuf.main import {plugin}; {plugin}()"],
        input=request.SerializeToString(), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    response = plugin_pb2.CodeGeneratorResponse.FromString(ran.stdout)
    if response.error:
        raise SystemExit(response.error)
    for file in response.file:
        (out / file.name).parent.mkdir(parents=True, exist_ok=True)
        (out / file.name).write_text(file.content, "utf-8")


def moved(text: str) -> str:
    """`text` with its imports of taken packages pointing below `pb`."""
    text = IMPORT.sub(rf"\1\2 {PKG}.\3", text)
    text = QUALIFIED.sub(rf"{PKG}.\1", text)
    return re.sub(r"(BuildTopDescriptorsAndMessages\(DESCRIPTOR, ')", rf"\1{PKG}.", text)


def generate(root: pathlib.Path, log: Any = print) -> None:
    """Make `pb/` afresh unless its stamp says that nothing it depends on has changed."""
    protos = sorted((root / "proto").rglob("*.proto"))
    inputs = [pathlib.Path(__file__).read_bytes(), *(path.read_bytes() for path in protos)]
    versions = [md.version(name) for name in ("xds-protos", "mypy-protobuf", "protobuf", "grpcio-tools")]
    stamp = hashlib.sha256(repr([inputs, versions]).encode()).hexdigest()
    out = root / PKG
    lock_name = f"protogen-{hashlib.sha256(str(out).encode()).hexdigest()[:16]}.lock"
    # Two installs of one checkout may run at once. The lock is released when the file is closed.
    with (pathlib.Path(tempfile.gettempdir()) / lock_name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (out / ".stamp").exists() and (out / ".stamp").read_text() == stamp:
            return
        with tempfile.TemporaryDirectory() as scratch:
            made = pathlib.Path(scratch) / PKG
            made.mkdir()
            take_envoy(pathlib.Path(str(md.distribution("xds-protos").locate_file(""))), made)
            compile_ours(root, made)
            for file in [*made.rglob("*.py"), *made.rglob("*.pyi")]:
                file.write_text(moved(file.read_text("utf-8")), "utf-8")
            for folder in [made, *(path for path in made.rglob("*") if path.is_dir())]:
                (folder / "__init__.py").touch()
            (made / "py.typed").touch()
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(made, out)
        (out / ".stamp").write_text(stamp)  # last: a build that was killed is done again
    log(f"pb: {len(list(out.rglob('*_pb2.py')))} modules in {out}")


class Hook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        generate(pathlib.Path(self.root), self.app.display_info)


if __name__ == "__main__":
    generate(pathlib.Path(__file__).parent)
