"""The sink `hdfs` on real servers: HDFS, where a colon is allowed in no name, and S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import context
from hdfs_servers import Hdfs, HdfsPlace
from servers import S3Server

from rayflume.batch import EventBatch, Extent
from rayflume.component import lookup
from rayflume.interfaces import Manifest
from rayflume.lake import storage_for
from rayflume.sinks._sink import LakeSink

JOURNAL = "0123456789abcdef"
HOSTS = ["a", "../../x", "10.0.0.1:80", "\u202ee", "CON", "", "é" * 200]


def made(path: str, base: Path, **options: object) -> LakeSink:
    part = lookup("sink", "hdfs").model_validate({"path": path, **options})
    assert part.check(context(base, "out")) == []
    sink: LakeSink = part.build(context(base, "out"))
    sink.open()
    return sink


def staged(sink: LakeSink, number: int) -> Manifest:
    bodies = [f"{number} {n}".encode() for n in range(len(HOSTS))]
    headers = [{"timestamp": "1763820000000", "host": host} for host in HOSTS]
    writer = sink.begin(f"{JOURNAL}-1-{number}")
    extents = (Extent("s", 0, len(bodies), len(bodies)),)
    writer.write(EventBatch.from_events(bodies, headers, extents), 0)
    return writer.stage()


def lines(files: dict[str, bytes]) -> list[str]:
    found = [data for path, data in files.items() if not path.startswith("_rayflume/")]
    return sorted(b"".join(found).decode().splitlines())


def wanted(count: int) -> list[str]:
    return sorted(f"{number} {n}" for number in range(count) for n in range(len(HOSTS)))


def publish_by_two(path: str, base: Path, **options: object) -> Iterator[Manifest]:
    """Three deliveries of one sink, each published by it and by another that knows only of them."""
    one, two = made(path, base, **options), made(path, base, **options)
    for number in range(3):
        manifest = staged(one, number)
        yield manifest
        assert two.publish(manifest) == one.publish(manifest) == []
    one.close()
    two.close()


@pytest.mark.hdfs
def test_hostile_paths_on_hdfs_each_event_once(hdfs: Hdfs, tmp_path: Path) -> None:
    place = HdfsPlace(hdfs)
    path = f"{place.path}/%Y-%m-%d/%{{host}}"
    for number, manifest in enumerate(publish_by_two(path, tmp_path)):
        assert len(manifest.files) == len(HOSTS)
        # What is staged cannot be seen.
        assert lines(place.files()) == wanted(number)
    assert lines(place.files()) == wanted(3)
    assert place.leftovers() == []


@pytest.mark.s3
def test_hostile_paths_on_s3_each_event_once(moto_s3: S3Server, tmp_path: Path) -> None:
    base = f"s3a://{moto_s3.bucket()}/flume"
    options = {"storage": moto_s3.options, "file_type": "CompressedStream", "codec": "gzip"}
    lake = storage_for(base, moto_s3.options, context(tmp_path, "out"))
    for manifest in publish_by_two(f"{base}/%Y/%{{host}}", tmp_path, **options):
        assert len(manifest.files) == len(HOSTS)
    targets = [path for path in lake.list("") if not path.startswith("_rayflume/")]
    assert len(targets) == 3 * len(HOSTS)
    assert all(path.startswith("2025/") and path.endswith(".gz") for path in targets)
    lake.close()
