"""What a run of the bench leaves: values in results/latest.json, tables in results/latest.md."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import targets
from bench.contenders import Contender
from bench.figures import BARE, FILE, Figures, ratio
from bench.settings import CODEC, ROW_GROUP_BYTES
from bench.table import Table
from bench.tasks import TASKS, Task

RESULTS = Path(__file__).with_name("results")
_PACKAGES = ("pyarrow", "ray", "polars", "pyspark", "numpy")
_COLUMNS = (
    "contender", "MB/s", "lowest", "highest", "thousand rows/s", "of bare pyarrow",
    "rayflume (file) : it", "CPU s per GB", "memory MiB", "shared MiB",
)  # fmt: skip


def machine(versions: Mapping[str, str]) -> dict[str, str | int]:
    """What the figures were measured on, and with. `versions`: those that no package tells."""
    found: dict[str, str | int] = {
        "cores": os.cpu_count() or 0,
        "cpu": _first(r"model name\s*: (.*)", Path("/proc/cpuinfo")),
        "memory_mib": int(_first(r"MemTotal:\s*(\d+)", Path("/proc/meminfo")) or 0) // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "java": _java(),
    }
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return {name: value for name, value in {**found, **versions}.items() if value}


def _first(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text()) if path.is_file() else None
    return found[1] if found else ""


def _java() -> str:
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    found = re.search(r'version "([^"]+)"', said.stderr)
    return found[1] if found else ""


def tables(figures: Figures, contenders: Sequence[Contender]) -> list[Table]:
    """In the order they are printed: targets, one for each task, what they mean, experiments."""
    done = [_of_task(task, figures, contenders) for task in TASKS.values()]
    found = [targets.table(figures), *(table for table in done if table.rows)]
    found += [_settings(contenders)]
    if figures.facts:
        found.append(Table("Ray beside rayflume", ("what", "measured"), _ray(figures)))
    if out := [(n, "skipped", r) for n, r in figures.skipped.items()] + [
        (n, "failed", _last_line(r)) for n, r in figures.failed.items()
    ]:
        found.append(Table("Not measured", ("contender", "what", "why"), list(out)))
    return [*found, *figures.tables]


def _ray(figures: Figures) -> list[tuple[str | float | int | None, ...]]:
    """Idle, before any agent, and while agents ran."""
    rows: list[tuple[str | float | int | None, ...]] = list(figures.facts.items())
    beside = [value for value in figures.values if "ray_bytes" in value.apart]
    if beside:
        peak = max(value.apart["ray_bytes"] for value in beside) / 2**20
        rows.append(("Ray while agents run, peak MiB", peak))
    for task in TASKS:
        used = [
            value.apart["ray_cpu_seconds"] / value.input_bytes * 1e9
            for value in beside
            if (value.task, value.variant) == (task, FILE)
        ]
        if used:
            rows.append((f"Ray, CPU s per GB, {task} (counted above)", statistics.median(used)))
    return rows


def medians(figures: Figures) -> dict[str, dict[str, dict[str, float | None]]]:
    """task -> variant -> what."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for task, variant in dict.fromkeys((v.task, v.variant) for v in figures.values):
        found.setdefault(task, {})[variant] = {
            "mb_per_second": figures.rate(task, variant),
            "rows_per_second": figures.rows(task, variant),
            "cpu_seconds_per_gb": figures.cpu(task, variant),
            "of_bare_pyarrow": ratio(figures.rate(task, variant), figures.rate(task, BARE)),
        }
    return found


def _of_task(task: Task, figures: Figures, contenders: Sequence[Contender]) -> Table:
    rows: list[tuple[str | float | int | None, ...]] = []
    sizes = set()
    for contender in contenders:
        for variant, title in contender.variants.items():
            values = figures.of(task.name, variant)
            if values:
                rows.append((title, *_cells(task.name, variant, figures)))
                sizes.add((values[0].input_bytes, contender.name))
    largest = max((size for size, _ in sizes), default=0)
    less = [f"{name} {size / 1e6:,.0f} MB" for size, name in sorted(sizes) if size < largest]
    note = f"Input: {largest / 1e6:,.0f} MB" + (f"; less for {', '.join(less)}." if less else ".")
    cannot = [f"{c.name}: {c.cannot[task.name]}" for c in contenders if task.name in c.cannot]
    note += f" Cannot: {'; '.join(cannot)}." if cannot and rows else ""
    return Table(f"{task.name}: {task.title}", _COLUMNS, rows, note)


def _cells(task: str, variant: str, figures: Figures) -> tuple[float | int | None, ...]:
    values = figures.of(task, variant)
    rate, rows = figures.rate(task, variant), figures.rows(task, variant)
    return (
        rate,
        min(value.rate for value in values),
        max(value.rate for value in values),
        rows / 1000 if rows is not None else None,
        ratio(rate, figures.rate(task, BARE)),
        ratio(figures.rate(task, FILE), rate),
        figures.cpu(task, variant),
        round(max(value.bytes for value in values) / 2**20),
        round(max(value.shared_bytes for value in values) / 2**20),
    )


def _settings(contenders: Sequence[Contender]) -> Table:
    return Table(
        "What differs",
        ("contender", "not as for the others"),
        [(contender.name, contender.notes) for contender in contenders],
        f"The same for all, where not said otherwise: {CODEC}, row groups of "
        f"{ROW_GROUP_BYTES // 2**20} MiB of decoded columns, two processes or threads, the same "
        "files, rows counted and a column summed in what was written. MB are 10^6 bytes of input. "
        "MB/s, CPU and ratios are medians of the rounds, memory is the peak of all. Memory is the "
        "proportional set size of all processes of a contender without the pages of mapped "
        "data files; shared memory is Ray's object store. Of rayflume these are the part actors "
        "and the supervisor; its CPU seconds count Ray's processes, too.",
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def write(
    figures: Figures, contenders: Sequence[Contender], about: Mapping[str, object]
) -> list[Table]:
    """Write both files; returns the tables. `about`: date, machine, arguments."""
    RESULTS.mkdir(exist_ok=True)
    found = tables(figures, contenders)
    whole = {**about, **{k: v for k, v in dataclasses.asdict(figures).items() if k != "tables"}}
    whole["medians"] = medians(figures)
    whole["tables"] = [dataclasses.asdict(table) for table in found]
    (RESULTS / "latest.json").write_text(json.dumps(whole, indent=1) + "\n")
    head = ", ".join(f"{name} {value}" for name, value in about.items() if name != "machine")
    facts = about.get("machine")
    if isinstance(facts, Mapping):
        head += "\n\n" + ", ".join(f"{name} {value}" for name, value in facts.items())
    text = "\n".join([f"# Bench\n\n{head}\n", *(table.markdown() for table in found)])
    (RESULTS / "latest.md").write_text(text)
    return found
