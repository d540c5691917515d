"""A module of Proxy-Wasm, assembled by hand, so that tests need no compiler for it: it adds a header with its configuration to answers.

https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1
https://webassembly.github.io/spec/core/binary/modules.html
"""

from __future__ import annotations

HEADER = b"x-wasm"
I32 = 0x7F
HEADER_AT, POINTER_AT, SIZE_AT, HEAP = 16, 0, 4, 4096
RESPONSE_HEADERS, PLUGIN_CONFIGURATION = 2, 7
"""Of `proxy_add_header_map_value` and `proxy_get_buffer_bytes`."""


def _leb(number: int) -> bytes:
    """Signed LEB128, which for the sizes here reads the same as an unsigned one."""
    made = bytearray()
    while True:
        low, number = number & 0x7F, number >> 7
        if number == 0 and not low & 0x40:
            return bytes((*made, low))
        made.append(low | 0x80)


def _size(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*made, number))


def _vector(*items: bytes) -> bytes:
    return _size(len(items)) + b"".join(items)


def _name(text: str) -> bytes:
    return _size(len(text)) + text.encode()


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + _size(len(content)) + content


def _type(takes: int, gives: int) -> bytes:
    return b"\x60" + _vector(*[bytes([I32])] * takes) + _vector(*[bytes([I32])] * gives)


def _const(number: int) -> bytes:
    return b"\x41" + _leb(number)


def _load(address: int) -> bytes:
    return _const(address) + b"\x28\x02\x00"


def _call(function: int) -> bytes:
    return b"\x10" + _size(function)


def _body(*instructions: bytes) -> bytes:
    code = _vector() + b"".join(instructions) + b"\x0b"
    return _size(len(code)) + code


def module() -> bytes:
    """The bytes of the file."""
    # Types by what they take and give; functions 0 and 1 are those of the host.
    types = [(5, 1), (0, 0), (1, 1), (2, 0), (2, 1), (3, 1)]
    drop = b"\x1a"
    configure = _body(
        _const(PLUGIN_CONFIGURATION), _const(0), _const(65536), _const(POINTER_AT), _const(SIZE_AT), _call(0), drop, _const(1)
    )  # fmt: skip
    answer = _body(
        _const(RESPONSE_HEADERS), _const(HEADER_AT), _const(len(HEADER)), _load(POINTER_AT), _load(SIZE_AT), _call(1), drop, _const(0)
    )  # fmt: skip
    functions = [  # exported name, type, body
        ("proxy_abi_version_0_2_1", 1, _body()),
        ("proxy_on_memory_allocate", 2, _body(_const(HEAP))),
        ("proxy_on_context_create", 3, _body()),
        ("proxy_on_vm_start", 4, _body(_const(1))),
        ("proxy_on_configure", 4, configure),
        ("proxy_on_response_headers", 5, answer),
    ]
    imports = [
        _name("env") + _name(name) + b"\x00" + _size(0)
        for name in ("proxy_get_buffer_bytes", "proxy_add_header_map_value")
    ]
    exports = [
        _name("memory") + b"\x02\x00",
        *(
            _name(name) + b"\x00" + _size(place + len(imports))
            for place, (name, _, _) in enumerate(functions)
        ),
    ]
    data = b"\x00" + _const(HEADER_AT) + b"\x0b" + _size(len(HEADER)) + HEADER
    return b"\0asm\x01\0\0\0" + b"".join(
        (
            _section(1, _vector(*(_type(*each) for each in types))),
            _section(2, _vector(*imports)),
            _section(3, _vector(*(_size(of_type) for _, of_type, _ in functions))),
            _section(5, _vector(b"\x00\x02")),
            _section(7, _vector(*exports)),
            _section(10, _vector(*(body for _, _, body in functions))),
            _section(11, _vector(data)),
        )
    )
