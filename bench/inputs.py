"""The input of the bench: lines of five kinds, made from a seed, written once and read by all.

clicks  clickstream JSON lines, about 230 bytes (rayflume.demo, none malformed, none late)
access  combined access-log lines, about 210 bytes
wide    JSON of 100 fields of mixed types, about 1.6 KB
tiny    20 bytes with the newline
large   100 KB

All but the clicks are made of Arrow strings joined row by row: the data buffer of the result is
what goes into the file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from bench.settings import WIDE_SCHEMA
from rayflume import demo

KINDS = ("clicks", "access", "wide", "tiny", "large")
CLICK_BYTES = 230
"""Of a click's line, in the mean."""
_START_S = 1_763_791_200
_HOURS = 5
_POOL = 4096
_TINY = 20
_LARGE = 100_000
_BLOCK = {"access": 100_000, "wide": 20_000, "tiny": 1_000_000, "large": 100}
_ROW_BYTES = {"access": 210, "wide": 1_580, "tiny": _TINY, "large": _LARGE}
_MADE = "_made.json"
"""A name that tools which read whole folders pass over."""


@dataclass(frozen=True)
class Input:
    """Files of one kind. `sums`: a column's name -> its sum over all rows, to check outputs with;
    `bytes` counts the newlines.
    """

    kind: str
    files: tuple[Path, ...]
    rows: int
    bytes: int
    sums: Mapping[str, int]

    def part(self, count: int) -> tuple[Path, ...]:
        """The first `count` files."""
        return self.files[:count]


@dataclass
class _Block:
    """Lines that end with a newline, and sums of theirs."""

    data: memoryview
    rows: int
    sums: dict[str, int]


def make(kind: str, size: int, folder: Path, files: int = 8, seed: int = 7) -> Input:
    """About `size` bytes of a kind, in `files` files of about equal size below `folder`; what an
    earlier call with the same arguments has finished is used again. Blocks (1 GB: half a minute).
    """
    place = folder / f"{kind}-{size}-{files}-{seed}"
    found = _finished(place)
    if found is not None:
        return found
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    made = (
        _clicks(place, size, files, seed)
        if kind == "clicks"
        else _made(kind, place, size, files, seed)
    )
    facts = {"kind": kind, "files": [path.name for path in made.files], "rows": made.rows}
    facts |= {"bytes": made.bytes, "sums": dict(made.sums)}
    (place / _MADE).write_text(json.dumps(facts))
    return made


def _finished(place: Path) -> Input | None:
    """What is there; None when it was never finished or files of it are gone."""
    try:
        facts = json.loads((place / _MADE).read_text())
        files = tuple(place / name for name in facts["files"])
        if sum(path.stat().st_size for path in files) != facts["bytes"]:
            return None
    except (OSError, ValueError, KeyError):
        return None
    return Input(facts["kind"], files, facts["rows"], facts["bytes"], facts["sums"])


def _clicks(place: Path, size: int, files: int, seed: int) -> Input:
    rows = max(files, round(size / CLICK_BYTES))
    stream = demo.Clickstream(rows, files, hours=_HOURS, seed=seed, malformed=0, late=0)
    done = demo.write(place, stream)
    only = pj.ParseOptions(
        explicit_schema=pa.schema([("dwell_ms", pa.int64())]), unexpected_field_behavior="ignore"
    )
    columns = [pj.read_json(path, parse_options=only)["dwell_ms"] for path in done.files]
    dwell = sum(pc.sum(column).as_py() for column in columns)
    return Input("clicks", done.files, done.rows, done.bytes, {"dwell_ms": dwell})


def _made(kind: str, place: Path, size: int, files: int, seed: int) -> Input:
    random = np.random.default_rng(seed)
    block = _MAKERS[kind](random)
    ending = "jsonl" if kind == "wide" else "log"
    paths = tuple(place / f"{kind}-{i:04d}.{ending}" for i in range(files))
    rows = total = 0
    sums: dict[str, int] = {}
    for path in paths:
        room = max(1, (size - total) // (files - paths.index(path)))
        with path.open("wb", buffering=0) as file:
            while room > 0:
                mean = total / rows if rows else _ROW_BYTES[kind]
                lines = block(rows, max(1, min(_BLOCK[kind], round(room / mean))))
                file.write(lines.data)
                rows, total = rows + lines.rows, total + len(lines.data)
                room -= len(lines.data)
                for name, value in lines.sums.items():
                    sums[name] = sums.get(name, 0) + value
                if rows and room < total / rows / 2:
                    break
    return Input(kind, paths, rows, total, sums)


_Indexes = npt.NDArray[np.int64]
_Maker = Callable[[int, int], _Block]
"""(number of the first row, rows) -> lines."""


def _joined(pieces: list[pa.Array | str], rows: int, sums: dict[str, int]) -> _Block:
    """The pieces of each row one after the other; a str is the same in all rows."""
    scalars = [pa.scalar(piece) if isinstance(piece, str) else piece for piece in pieces]
    lines = pc.binary_join_element_wise(*scalars, "")
    offsets = np.frombuffer(lines.buffers()[1], dtype=np.int32)
    return _Block(memoryview(lines.buffers()[2])[: int(offsets[rows])], rows, sums)


def _access(random: np.random.Generator) -> _Maker:
    def text(values: list[str]) -> pa.Array:
        return pa.array(values)

    hosts = text([f"{a}.{b}.{c}.{d}" for a, b, c, d in random.integers(1, 255, (_POOL, 4))])
    users = text(["-"] * 15 + ["frank"])
    paths = text([f"/catalog/product/{n}?variant={n * 7 % 100}" for n in range(_POOL)])
    methods, statuses = text(["GET"] * 9 + ["POST"]), text(["200"] * 8 + ["304", "404"])
    referrers = text(["-", *(f"https://search.example/?q={n}" for n in range(255))])
    agents = text([f"Mozilla/5.0 (X11; Linux x86_64; rv:{n}.0) Gecko/20100101 Firefox/{n}.0"
                   for n in range(80, 144)])  # fmt: skip

    def block(first: int, rows: int) -> _Block:
        sizes = random.integers(100, 100_000, rows)
        seconds = pa.array(_START_S + (first + np.arange(rows)) // 500, pa.timestamp("s"))
        pick = [
            pool.take(pa.array(random.integers(0, len(pool), rows)))
            for pool in (hosts, users, methods, paths, statuses, referrers, agents)
        ]
        host, user, method, path, status, referrer, agent = pick
        times = pc.strftime(seconds, "%d/%b/%Y:%H:%M:%S +0000")
        return _joined(
            [host, " - ", user, " [", times, '] "', method, " ", path, ' HTTP/1.1" ', status, " ",
             pa.array(sizes).cast(pa.string()), ' "', referrer, '" "', agent, '"\n'],
            rows,
            {"bytes": int(sizes.sum())},
        )  # fmt: skip

    return block


def _wide(random: np.random.Generator) -> _Maker:
    integers = random.integers(0, 1_000_000, _POOL)
    values = {
        "int64": [str(value) for value in integers],
        "double": [f"{value / 1000:.3f}" for value in random.integers(0, 10_000_000, _POOL)],
        "string": [f'"value-{value:06d}"' for value in random.integers(0, 500_000, _POOL)],
        "boolean": ["true", "false"] * (_POOL // 2),
    }
    names = [name for name in WIDE_SCHEMA if name != "ts"]
    pools = {
        name: pa.array([f',"{name}":{value}' for value in values[WIDE_SCHEMA[name]]])
        for name in names
    }

    def block(first: int, rows: int) -> _Block:
        picks = random.integers(0, _POOL, (len(names), rows))
        ts = pa.array(_START_S * 1000 + 10 * (first + np.arange(rows))).cast(pa.string())
        pieces: list[pa.Array | str] = ['{"ts":', ts]
        pieces += [
            pools[name].take(pa.array(pick)) for name, pick in zip(names, picks, strict=True)
        ]
        sums = {"i00": int(integers[picks[names.index("i00")]].sum())}
        return _joined([*pieces, "}\n"], rows, sums)

    return block


def _tiny(random: np.random.Generator) -> _Maker:
    def block(first: int, rows: int) -> _Block:
        # Digits by arithmetic: nine of the row's number, a blank, nine by chance, a newline.
        lines = np.full((rows, _TINY), ord(" "), dtype=np.uint8)
        _digits(lines[:, 0:9], first + np.arange(rows))
        _digits(lines[:, 10:19], random.integers(0, 10**9, rows))
        lines[:, 19] = ord("\n")
        return _Block(lines.reshape(-1).data, rows, {})

    return block


def _digits(columns: npt.NDArray[np.uint8], values: _Indexes) -> None:
    for place in range(columns.shape[1] - 1, -1, -1):
        columns[:, place] = values % 10 + ord("0")
        values = values // 10


def _large(random: np.random.Generator) -> _Maker:
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789 .,-", dtype=np.uint8)
    pool = letters[random.integers(0, len(letters), 8 * _LARGE)]

    def block(first: int, rows: int) -> _Block:
        lines = np.empty((rows, _LARGE), dtype=np.uint8)
        for row, start in enumerate(random.integers(0, 7 * _LARGE, rows)):
            lines[row] = pool[start : start + _LARGE]
        _digits(lines[:, 0:9], first + np.arange(rows))
        lines[:, -1] = ord("\n")
        return _Block(lines.reshape(-1).data, rows, {})

    return block


_MAKERS: dict[str, Callable[[np.random.Generator], _Maker]] = {
    "access": _access,
    "wide": _wide,
    "tiny": _tiny,
    "large": _large,
}
