"""Reads the lakes: every id that is owed is there, none twice where that is promised."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from chaos.monkey import Struck
from chaos.rows import BAD_EVERY, KINDS, SPAN, Ledgers

SHOWN = 20
Ids = npt.NDArray[np.int64]


@dataclass
class Verdict:
    """Of one kind of sender in one lake. `late`: rows nobody was promised that are there."""

    lake: str
    kind: str
    once: bool
    sent: int
    owed: int
    found: int
    lost: int
    doubled: int
    phantom: int
    lost_ids: list[int] = field(default_factory=list)
    doubled_ids: list[int] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.lost and not self.phantom and not (self.once and self.doubled)


def files(filesystem: pafs.FileSystem, base: str) -> Iterator[str]:
    """Paths of all files of a lake, those of `_rayflume/` too."""
    for info in filesystem.get_file_info(pafs.FileSelector(base, recursive=True)):
        if info.is_file:
            yield info.path


def ids_in(filesystem: pafs.FileSystem, base: str) -> tuple[Ids, Ids]:
    """All ids of a lake, and those of them that are in its dead letters."""
    found: list[Ids] = []
    dead: list[int] = []
    for path in files(filesystem, base):
        if path.endswith(".parquet"):
            table = pq.read_table(path, columns=["id"], filesystem=filesystem, partitioning=None)
            found.append(table["id"].to_numpy().astype(np.int64))
        elif path.endswith(".dead"):
            bodies = pq.read_table(path, columns=["body"], filesystem=filesystem, partitioning=None)
            dead += [int(json.loads(body)["id"]) for body in bodies["body"].to_pylist()]
    letters = np.array(dead, dtype=np.int64)
    return np.concatenate([*found, letters]), letters


def bad(ids: Ids) -> npt.NDArray[np.bool_]:
    """Which ids belong to rows that were made to be dead letters."""
    return np.asarray(ids % SPAN % BAD_EVERY == BAD_EVERY - 1)


def judge(lake: str, ids: Ids, sent: Ledgers) -> list[Verdict]:
    """One verdict per kind of sender that sent anything."""
    verdicts = []
    feeds = ids // SPAN
    for number, kind in enumerate(KINDS):
        ledger = sent[kind]
        own = ids[feeds == number] - number * SPAN
        known = own[own < ledger.issued]
        counts = np.bincount(known, minlength=ledger.issued)
        owed = ledger.owes()
        lost = np.flatnonzero(owed & (counts == 0))
        doubled = np.flatnonzero(counts > 1)
        if not ledger.issued and not len(own):
            continue
        verdicts.append(
            Verdict(
                lake,
                kind.name,
                kind.once,
                ledger.issued,
                int(owed.sum()),
                int((counts > 0).sum()),
                len(lost),
                len(doubled),
                len(own) - len(known),
                [int(n) + number * SPAN for n in lost[:SHOWN]],
                [int(n) + number * SPAN for n in doubled[:SHOWN]],
            )
        )
    return verdicts


@dataclass
class Result:
    """A run, as it is written down."""

    seed: int
    stores: Sequence[str]
    seconds: float = 0.0
    verdicts: list[Verdict] = field(default_factory=list)
    dead_letters: dict[str, int] = field(default_factory=dict)
    struck: list[Struck] = field(default_factory=list)
    s3_requests_hit: int = 0
    rotations: int = 0
    rss_mib: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return bool(self.verdicts) and all(v.good for v in self.verdicts) and not self.wrong

    def stalls(self) -> dict[str, list[float]]:
        """Kind of fault -> seconds until rows were committed again, one for each fault."""
        found: dict[str, list[float]] = {}
        for fault in self.struck:
            found.setdefault(fault.kind, []).append(fault.stall_s)
        return dict(sorted(found.items()))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"good": self.good, "stalls": self.stalls()}


def markdown(result: Result) -> str:
    """The run as two tables."""
    lines = [
        f"Seed {result.seed}: {len(result.struck)} faults in {result.seconds:.0f} s, "
        f"{result.rotations} rotations, {result.s3_requests_hit} S3 requests hit: "
        f"{'good' if result.good else 'BROKEN'}",
        "",
        "| lake | sender | sent | owed | found | lost | doubled |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {v.lake} | {v.kind} | {v.sent:,} | {v.owed:,} | {v.found:,} | {v.lost:,} |"
        f" {v.doubled:,}{'' if v.once else ' (allowed)'} |"
        for v in result.verdicts
    ]
    lines += [
        "",
        "| fault | times | median stall, s | longest, s |",
        "|---|--:|--:|--:|",
    ]
    for kind, stalls in result.stalls().items():
        middle, longest = statistics.median(stalls), max(stalls)
        lines.append(f"| {kind} | {len(stalls)} | {middle:.1f} | {longest:.1f} |")
    lines += [f"- wrong: {text}" for text in result.wrong]
    for verdict in result.verdicts:
        if not verdict.good:
            lines.append(
                f"- {verdict.lake}, {verdict.kind}: lost {verdict.lost_ids}, doubled "
                f"{verdict.doubled_ids}, {verdict.phantom} never sent"
            )
    return "\n".join(lines) + "\n"


def write(result: Result, folder: Path) -> list[Path]:
    """`seed-N.json` and `seed-N.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"seed-{result.seed}.json", folder / f"seed-{result.seed}.md"]
    paths[0].write_text(json.dumps(result.to_json(), indent=1))
    paths[1].write_text(markdown(result))
    return paths
