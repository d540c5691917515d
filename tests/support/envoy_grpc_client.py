"""A program: a gRPC client that finds its servers by xDS itself. Prints, for each call, who answered or what failed.

python envoy_grpc_client.py xds:///greeter.mesh:50051       with GRPC_XDS_BOOTSTRAP_CONFIG in its environment
"""

from __future__ import annotations

import sys
import time

import grpc


def main() -> None:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Greeter/Hello")
        while True:
            try:
                print(call(b"", timeout=5).decode(), flush=True)
            except grpc.RpcError as error:
                print(f"failed: {error.code()} {error.details()}", flush=True)
            time.sleep(0.02)


if __name__ == "__main__":
    main()
