"""All contenders side by side, in turn, on the same files: medians and ratios.

make bench                    1076 MB, three rounds
python -m bench.run --mb 100 --rounds 1
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

from bench import bare, rayflow
from rayflume import demo
from rayflume.agent import cluster

ROW_BYTES = 230
RESULTS = Path(__file__).with_name("results")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1076, help="input in 10^6 bytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(__file__).with_name("data"))
    parser.add_argument("--kinds", default="json,lines")
    args = parser.parse_args()
    stream = demo.Clickstream(args.mb * 10**6 // ROW_BYTES, files=8, hours=5, malformed=0, late=0)
    shutil.rmtree(args.data, ignore_errors=True)
    made = demo.write(args.data / "input", stream)
    print(f"{made.rows:,} rows, {made.bytes / 1e6:.0f} MB in {len(made.files)} files", flush=True)
    cluster.connect(None)
    turns: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    try:
        for turn in range(args.rounds):
            for kind in args.kinds.split(","):
                _turn(kind, turn, made, args.data, turns, memory)
    finally:
        cluster.disconnect()
    _report(turns, memory, made)
    shutil.rmtree(args.data, ignore_errors=True)


def _turn(
    kind: str,
    turn: int,
    made: demo.Written,
    data: Path,
    turns: dict[str, list[float]],
    memory: dict[str, int],
) -> None:
    lake = data / f"bare-{kind}-{turn}"
    seconds = {f"bare pyarrow, {kind}": bare.run(kind, list(made.files), lake)}
    shutil.rmtree(lake)
    for channel in ("file", "memory"):
        folder = data / f"{kind}-{channel}-{turn}"
        done = rayflow.run(kind, list(made.files), folder, channel)
        if done.rows != made.rows or done.dead:
            raise RuntimeError(f"{made.rows} rows in, {done.rows} out, {done.dead} dead letters")
        seconds[f"rayflume {channel} channel, {kind}"] = done.seconds
        for part, used in done.memory.items():
            memory[part] = max(memory.get(part, 0), used)
        shutil.rmtree(folder)
    for name, value in seconds.items():
        rate = made.bytes / 1e6 / value
        turns.setdefault(name, []).append(rate)
        print(f"round {turn + 1}: {name}: {rate:.0f} MB/s", flush=True)


def _report(turns: dict[str, list[float]], memory: dict[str, int], made: demo.Written) -> None:
    medians = {name: statistics.median(rates) for name, rates in turns.items()}
    lines = ["| contender | MB/s (median) | of bare pyarrow |", "|---|---|---|"]
    for name, rate in medians.items():
        limit = medians[f"bare pyarrow, {name.rpartition(' ')[2]}"]
        lines.append(f"| {name} | {rate:.0f} | {rate / limit:.2f} |")
    peak = ", ".join(f"{part} {used / 2**20:.0f} MiB" for part, used in memory.items())
    lines += ["", f"Peak private memory: {peak}"]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    facts = {
        "when": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),  # noqa: TID251
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "input": {"rows": made.rows, "bytes": made.bytes, "files": len(made.files)},
        "mb_per_second": turns,
        "median": medians,
        "peak_private_bytes": memory,
    }
    (RESULTS / "latest.json").write_text(json.dumps(facts, indent=2) + "\n")
    (RESULTS / "latest.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
