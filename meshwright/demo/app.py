"""A service of the demo: answers who it is, who called it, and what the next service says. Standard library only.

It knows nothing of the mesh: it speaks plain HTTP to its own loopback, and reads its caller from the header that its sidecar sets.
"""

from __future__ import annotations

import argparse
import http.client
import json
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    name: str
    instance: str
    address: str
    port: int
    next: str | None
    host_header: str | None


def caller(header: str | None) -> str | None:
    """The SPIFFE id in `x-forwarded-client-cert` (Envoy, HTTP connection manager): the last `URI=` of the last element."""
    if not header:
        return None
    fields = (part.partition("=") for part in header.rpartition(",")[2].split(";"))
    return next((value.strip('"') for name, _, value in fields if name.lower() == "uri" and value), None)


def ask_next(options: Options, path: str) -> dict[str, Any] | None:
    if options.next is None:
        return None
    url = urllib.parse.urlsplit(options.next)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers={"Host": options.host_header or url.netloc})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status != 200:
            return {"error": f"{answer.status} {text[:200]}"}
        found: dict[str, Any] = json.loads(text)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return {"error": repr(error)}
    else:
        return found
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    options: Options

    def do_GET(self) -> None:
        body: dict[str, Any] = {
            "service": self.options.name,
            "instance": self.options.instance,
            "caller": caller(self.headers.get("x-forwarded-client-cert")),
        }
        status = 200
        if not self.path.startswith("/healthz"):
            following = ask_next(self.options, self.path)
            if following is not None:
                body["next"] = following
                status = 502 if "error" in following else 200
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Quiet: the sidecar logs requests."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the service")
    parser.add_argument("--instance", required=True, help="this instance")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--next", help="URL of the service that this one calls")
    parser.add_argument("--host-header", help="Host to call it by")
    options = Options(**vars(parser.parse_args()))
    handler = type("BoundHandler", (Handler,), {"options": options})
    Server((options.address, options.port), handler).serve_forever()


if __name__ == "__main__":
    main()
