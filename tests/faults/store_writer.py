"""The process that `test_store_sqlite` kills: writes batches to a store, and says what was acknowledged.

    python store_writer.py DATABASE FROM COUNT

Each line of the output is the number of a batch whose write was acknowledged. Batch n puts `batch-n-0` to `batch-n-4` and
replaces `shared`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from store.repository import Repository
from store.sqlite import SqliteBackend
from tests.support.stores import put

SIZE = 5


async def main(path: Path, first: int, count: int) -> None:
    backend = await SqliteBackend.open(path)
    repository = Repository(backend)
    for number in range(first, first + count):
        batch = [put(f"batch-{number}-{each}", {"n": number}) for each in range(SIZE)]
        await repository.commit(
            [*batch, put("shared", {"n": number})], author="writer", reason=f"batch {number}"
        )
        print(number, flush=True)
    await backend.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
