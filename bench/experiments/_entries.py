"""What one stream, or one idempotency key, costs a channel in memory and in a Snapshot.

    python -m bench.experiments._entries --kind streams --count 200000 --how pss

In a process of its own, so that nothing else has made room that the entries could use.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.experiments._fill import open_channel
from bench.experiments._processes import memory
from rayflume.batch import EventBatch, Extent
from rayflume.interfaces import Channel, PutOutcome, PutRequest

_PER_PUT = 1000


@dataclass(frozen=True)
class Wanted:
    """`kind`: streams or keys. `how`: `pss` asks the kernel, `traced` Python's own allocator."""

    kind: str = "streams"
    count: int = 200_000
    how: str = "pss"


def _extent(kind: str, number: int) -> Extent:
    """Names and tokens as long as those of taildir and of the HTTP source."""
    if kind == "keys":
        name = hashlib.blake2b(str(number).encode(), digest_size=16)
        return Extent(name.hexdigest(), 0, 1, 1, name.digest(), keyed=True)
    token = json.dumps({"path": f"/var/log/web/access-{number:07d}.jsonl", "hash": "0" * 32})
    return Extent(f"0123456789ab/clicks/fe00-{number:08d}/0", 0, 224, 1, token.encode())


def _bytes_now(how: str) -> int:
    return tracemalloc.get_traced_memory()[0] if how == "traced" else memory(os.getpid()).private


def measure(wanted: Wanted, directory: Path) -> float:
    """Bytes per entry."""
    channel = open_channel(directory)
    try:
        if wanted.how == "traced":
            tracemalloc.start()
        _put(channel, wanted.kind, range(-_PER_PUT, 0))
        before = _bytes_now(wanted.how)
        for first in range(0, wanted.count, _PER_PUT):
            _put(channel, wanted.kind, range(first, first + _PER_PUT))
        return (_bytes_now(wanted.how) - before) / wanted.count
    finally:
        channel.close()


def _put(channel: Channel, kind: str, numbers: range) -> None:
    extents = tuple(_extent(kind, number % 10**7) for number in numbers)
    payload = EventBatch.from_events([b"x"] * len(extents)).encode()
    request = PutRequest("bench", extents, payload, zlib.crc32(payload), len(extents))
    outcome = channel.put(request).outcome
    if outcome is not PutOutcome.STORED:
        raise RuntimeError(f"not taken: {outcome}")


def entry_bytes(wanted: Wanted) -> float:
    """Bytes per entry, measured in a process of its own. Blocks. Raises CalledProcessError."""
    command = [sys.executable, "-m", "bench.experiments._entries"]
    for name, value in asdict(wanted).items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in asdict(Wanted()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    wanted = Wanted(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="rayflume-bench-") as directory:
        print(measure(wanted, Path(directory) / "wal"))


if __name__ == "__main__":
    main()
