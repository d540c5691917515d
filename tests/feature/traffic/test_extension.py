"""Extensions on real Envoys: Lua and Wasm, at both sides, in order, and ones that fail."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from tests.support.traffic.world import Traffic
from tests.support.wasm_module import module


def extension(name: str, spec: str, target: str = "{kind: Service, name: api}") -> str:
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: Extension\nmetadata: {{name: {name}}}\n"
        f"spec:\n  targetRefs: [{target}]\n  {spec}\n"
    )


def lua(request: str = "", response: str = "") -> str:
    handlers = [f"function envoy_on_request(h) {request} end"] if request else []
    handlers += [f"function envoy_on_response(h) {response} end"] if response else []
    return f"lua: {json.dumps(' '.join(handlers))}"


def appends(mark: str) -> str:
    """A script that adds `mark` to what a header of the request says already."""
    return lua(f'h:headers():replace("x-way", (h:headers():get("x-way") or "") .. "{mark}")')


async def test_scripts_of_both_sides_see_a_request_in_their_order(traffic: Traffic) -> None:
    documents = "---\n".join(
        (
            extension("a", f"order: 2\n  {appends('2')}"),
            extension("b", f"order: 1\n  {appends('1')}"),
            extension("c", f"stage: first\n  order: 9\n  {appends('0')}"),
            extension("d", f"side: caller\n  {appends('caller-')}"),
        )
    )
    async with traffic.apply(documents):
        assert (await traffic.get("http://api.mesh/")).status == 200
    assert traffic.seen("api")[0].headers["x-way"] == "caller-012"
    await traffic.get("http://api.mesh/")
    assert "x-way" not in traffic.seen("api")[-1].headers


async def test_some_callers_run_one_and_a_script_may_answer(traffic: Traffic) -> None:
    refuses = lua(request='h:respond({[":status"] = "451"}, "not here")')
    async with traffic.apply(extension("a", f"side: caller\n  from: [{{service: web}}]\n  {refuses}")):
        answer = await traffic.get("http://api.mesh/")
        assert (answer.status, answer.text) == (451, "not here")
    async with traffic.apply(extension("a", f"side: caller\n  from: [{{service: nobody}}]\n  {refuses}")):
        assert (await traffic.get("http://api.mesh/")).status == 200


async def test_a_script_that_fails_harms_nothing_else(traffic: Traffic) -> None:
    documents = "---\n".join(
        (
            extension("good", lua(response='h:headers():add("x-good", "yes")')),
            extension("at-load", 'lua: "function envoy_on_request(h) end error(1)"'),
            extension("at-work", lua(request="local nothing = nil; nothing.at_all()")),
            extension("later", lua(request='local n = h:body():length() h:headers():add("x-length", n)')),
        )
    )
    async with traffic.apply(documents):
        answer = await traffic.get("http://api.mesh/", method="POST", body=b"x" * 50000)
        assert (answer.status, answer.headers["x-good"]) == (200, "yes")
    assert traffic.seen("api")[0].headers["x-length"] == "50000"


async def test_a_wasm_module_with_its_configuration(traffic: Traffic, tmp_path: Path) -> None:
    file, code = tmp_path / "adds.wasm", module()
    file.write_bytes(code)
    wasm = f"wasm: {{file: {file}, sha256: {sha256(code).hexdigest()}, config: {{mark: [1, two]}}}}"
    script = extension(
        "script", lua(response='h:headers():replace("x-seen", h:headers():get("x-wasm") or "")')
    )
    async with traffic.apply(extension("z-adds", wasm) + "---\n" + script):
        answer = await traffic.get("http://api.mesh/")
        assert answer.headers["x-wasm"] == answer.headers["x-seen"] == '{"mark":[1,"two"]}'
    assert "x-wasm" not in (await traffic.get("http://api.mesh/")).headers


async def test_no_script_reaches_the_host_of_the_proxy(traffic: Traffic, tmp_path: Path) -> None:
    marks = [tmp_path / each for each in ("at-load", "on-request", "by-another-way")]
    ways = [
        "io",
        "os",
        "require",
        "package",
        "ffi",
        "debug",
        "jit",
        "loadstring",
        "load",
        "loadfile",
        "dofile",
        "getfenv",
        "setfenv",
        "module",
    ]
    found = " ".join(f'found = found .. (({way}) and " {way}" or "")' for way in ways)
    at_load = f'io.open("{marks[0]}", "w"):close() function envoy_on_request(h) end'
    on_request = lua(request=f'os.execute("touch {marks[1]}")')
    by_another = lua(
        request=f'local f = getmetatable("") or _G h:headers():add("x-env", tostring(f.io)) string.dump(print) io.open("{marks[2]}", "w")'
    )
    says = lua(
        response=f'local found = "none" {found} h:headers():add("x-found", found) '
        'h:headers():add("x-at", h:timestamp(EnvoyTimestampResolution.MILLISECOND) > 0 and string.format("%d", math.max(1, 2)) or "")'
    )
    documents = "---\n".join(
        (
            extension("at-load", f"lua: {json.dumps(at_load)}"),
            extension("on-request", on_request),
            extension("by-another", by_another),
            extension("says", says),
        )
    )
    async with traffic.apply(documents):
        answer = await traffic.get("http://api.mesh/")
        assert (answer.status, answer.headers["x-found"], answer.headers["x-at"]) == (200, "none", "2")
    assert traffic.seen("api")[0].headers["x-env"] == "nil"
    assert not any(mark.exists() for mark in marks)
