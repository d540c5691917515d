"""Scripts for Envoy's Lua filter: what is wrong with one, and programs of several that cannot harm each other."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lupa.luajit21 import LuaRuntime, LuaSyntaxError

HANDLERS = re.compile(r"\benvoy_on_(?:request|response)\b")


def problem(script: str) -> tuple[str, str] | None:
    """The reason and the remedy, if LuaJIT, which Envoy has, cannot read `script` or it has no handler. It is compiled, never run."""
    if any(char < " " and char not in "\t\r\n" for char in script):
        return "the script has control characters in it", "Use text: compiled code is not accepted"
    try:
        LuaRuntime(register_eval=False, register_builtins=False).compile(script)
    except LuaSyntaxError as error:
        _, _, said = str(error).partition("]:")
        line, _, reason = said.partition(": ")
        return f"line {line} of the script is not Lua: {reason}", "Envoy's Lua is LuaJIT 2.1, as Lua 5.1"
    if not HANDLERS.search(script):
        return "the script has no handler", "Define envoy_on_request(handle) or envoy_on_response(handle)"
    return None


def program(script: str, name: str, order: int = 0) -> str:
    """A script that does what `script` does, and can be joined with others. Where one fails, as it is loaded or on a request, that is
    in the proxy's log, and all else goes on (`order`: from -4000 to 4000): Envoy itself would refuse all routes of the resource for a script that does not load.
    """
    level = next(each for each in ("=" * count for count in range(1, 1000)) if f"]{each}]" not in script)
    # The line break after the opening bracket is not part of the text.
    # Of non-negative orders of four digits the text sorts as they do: see `joined`.
    return f'{_HEAD}add({order + 5000}, "{name}", [{level}[\n{script}]{level}])\n{_TAIL}'


def joined(programs: Iterable[str]) -> str:
    """One program that does what several do, by their orders and then their names; on answers, in the reverse."""
    return _HEAD + "".join(sorted(each.removeprefix(_HEAD).removesuffix(_TAIL) for each in programs)) + _TAIL


def is_program(script: str) -> bool:
    """Whether it is one of ours: what a user has put into it is compiled already."""
    return script.startswith(_HEAD) and script.endswith(_TAIL)


# Scripts get these globals, and no way to the host of the proxy: no io, os, require, ffi, debug, nothing that loads code, and no way to the
# environment of another function. Libraries are copies: what a script does to them is its own.
_HEAD = """\
local requests, responses = {}, {}
local function copy(library, without)
  local made = {}
  for name, value in pairs(library) do
    if name ~= without then made[name] = value end
  end
  return made
end
local function globals()
  local own = {
    assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall, print = print,
    rawequal = rawequal, rawget = rawget, rawset = rawset, select = select, setmetatable = setmetatable,
    tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, xpcall = xpcall, _VERSION = _VERSION,
    bit = copy(bit or {}), coroutine = copy(coroutine), math = copy(math), string = copy(string, "dump"), table = copy(table),
  }
  own._G = own
  own.getmetatable = function(value) return type(value) == "table" and getmetatable(value) or nil end
  -- Envoy sets this one after the script is loaded.
  return setmetatable(own, {__index = function(_, name)
    if name == "EnvoyTimestampResolution" then return EnvoyTimestampResolution end
  end})
end
local function add(_, name, source)
  local own = globals()
  local chunk, problem = loadstring(source, "=" .. name)
  local loaded = false
  if chunk then
    setfenv(chunk, own)
    loaded, problem = pcall(chunk)
  end
  if not loaded then
    own.envoy_on_response = nil
    own.envoy_on_request = function(handle) handle:logErr(name .. " does nothing: " .. tostring(problem)) end
  end
  if own.envoy_on_request then table.insert(requests, {name, own.envoy_on_request}) end
  if own.envoy_on_response then table.insert(responses, 1, {name, own.envoy_on_response}) end
end
local function all(handlers)
  return #handlers > 0 and function(handle)
    for _, each in ipairs(handlers) do
      local done, problem = pcall(each[2], handle)
      if not done then handle:logErr(each[1] .. ": " .. tostring(problem)) end
    end
  end or nil
end
"""
_TAIL = "envoy_on_request, envoy_on_response = all(requests), all(responses)\n"
