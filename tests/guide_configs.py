"""The 112 configurations after Flume's user guide, and what is to be known of each to run it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rayflume.flume import names
from rayflume.flume.grammar import read_files
from rayflume.flume.names import Status
from rayflume.flume.own import is_own
from rayflume.flume.read import FlumeFile, read_flume
from rayflume.flume.sections import KINDS, split
from rayflume.flume.values import Surroundings

CONFIGS = Path(__file__).parents[2] / "shared" / "data" / "flume_guide_configs"
needs_configs = pytest.mark.skipif(
    not CONFIGS.is_dir(), reason=f"the configurations are not on this machine: no {CONFIGS}"
)


@dataclass(frozen=True)
class Expected:
    """`why`: what is other than in the manifest, or what the manifest asks to be given."""

    why: str
    dropped: frozenset[str] = frozenset()
    runs: bool = True
    also: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    defines: dict[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()


def drops(*parts: str, why: str, runs: bool = True) -> Expected:
    return Expected(why, frozenset(parts), runs)


_OWN = "a Java class of one's own: refused with how to map it, where Flume needs the class as well"
_JCEKS = "a JCEKS store is refused, with what to use instead, where Flume needs the key files"
_OLD = "the guide gives `bind` where `port` is meant, so Flume drops the source"
_TIGHT = "Flume's default batch is larger than what a memory channel takes"
SPECIAL = {
    "setup_env_variable": Expected("NC_PORT is set", environ={"NC_PORT": "44444"}),
    "setup_system_property": Expected("-D NC_PORT is given", defines={"NC_PORT": "44444"}),
    "setup_multi_file_base": Expected("with its other file", also=("setup_multi_file_override",)),
    "source_http_custom_handler": Expected(_OWN, runs=False),
    "source_custom": Expected(_OWN, runs=False),
    "sink_custom": Expected(_OWN, runs=False),
    "channel_custom": Expected(_OWN, runs=False),
    "selector_custom": Expected(_OWN, runs=False),
    "source_avro_legacy": drops("sources.r1", why=_OLD),
    "source_thrift_legacy": drops("sources.r1", why=_OLD),
    "sink_hive": drops("sinks.k1", why=_TIGHT),
    "channel_file_encryption_key0": Expected(_JCEKS, runs=False),
    "channel_file_encryption_key1": Expected(_JCEKS, runs=False),
    "channel_file_encryption_key_password": Expected(_JCEKS, runs=False),
    "configfilter_external": Expected("allowed", allow=("/usr/bin/passwordResolver.sh",)),
    "configfilter_external_path": Expected("allowed", allow=("/usr/bin/generateUniqId.sh",)),
    "configfilter_hadoop": Expected(_JCEKS, runs=False),
    "selector_load_balancing": Expected("Flume refuses its own selector; it is accepted here"),
}
"""File -> what is expected where that is not `runs, and nothing is dropped`."""


def rows() -> list[dict[str, str]]:
    if not CONFIGS.is_dir():
        return []
    with (CONFIGS / "manifest.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def reading(name: str) -> FlumeFile:
    expected = SPECIAL.get(name, Expected(""))
    around = Surroundings(expected.environ, expected.defines, 0, expected.allow)
    return read_flume([CONFIGS / f"{one}.properties" for one in (name, *expected.also)], around)


AGENTS = [
    row["file"].removesuffix(".properties")
    for row in rows()
    if row["kind"] == "agent" and row["file"] != "setup_multi_file_override.properties"
]
OTHERS = [row["file"] for row in rows() if row["file"].removesuffix(".properties") not in AGENTS]


def not_here(name: str) -> list[str]:
    """Types in the file that are Flume's and that rayflume has not, or not yet."""
    return list(_not_here(name))


def _not_here(name: str) -> Iterator[str]:
    agents, _ = split(read_files([CONFIGS / f"{name}.properties"]).entries)
    for agent in agents.values():
        for folder, sections in agent.sections.items():
            for section in sections.values():
                for prop, entry in section.entries.items():
                    kind = _kind(KINDS[folder], prop)
                    part = names.lookup(kind, entry.value) if kind else None
                    here = part is not None and part.status is Status.DONE
                    if kind and not here and not is_own(entry.value):
                        yield entry.value


def _kind(kind: str, prop: str) -> str:
    if prop == "type":
        return kind if kind != "config_filter" else ""
    if prop.startswith("interceptors.") and prop.endswith(".type") and prop.count(".") == 2:
        return "interceptor"
    return "channel_selector" if prop == "selector.type" else ""
