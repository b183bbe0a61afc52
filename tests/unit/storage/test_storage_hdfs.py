"""The HDFS storage on a real name node and data node: what the contract suite does not ask."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import cast

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hdfs_servers import Hdfs
from lake_files import fill, once, seen
from servers import free_ports

from rayflume.clock import SystemClock
from rayflume.component import Context, lookup
from rayflume.errors import StagingFailed, StorageDenied, StorageUnavailable, TargetTaken
from rayflume.interfaces import Json, Published
from rayflume.lake import storage_for
from rayflume.maintenance.compact import Compactor, State, candidates
from rayflume.maintenance.plan import CompactOptions
from rayflume.naming import STAGING, data_name
from rayflume.storage import _hdfs_client
from rayflume.storage.hdfs import HdfsStorage

pytestmark = pytest.mark.hdfs
JOURNAL = "00000000000000aa"
DELIVERY = f"{JOURNAL}-1-7"
TARGET = f"dt=1/{data_name(DELIVERY, 0)}"
Open = Callable[..., HdfsStorage]


@pytest.fixture
def open_hdfs(context: Context) -> Iterator[Open]:
    """Open a storage; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def start(path: str, **options: object) -> HdfsStorage:
            storage = cast("HdfsStorage", storage_for(path, options, context))
            stack.callback(storage.close)
            return storage

        yield start


def staged(storage: HdfsStorage, data: bytes = b"rows", n: int = 0) -> dict[str, Json]:
    writer = storage.stage(f"dt=1/{data_name(DELIVERY, n)}", DELIVERY)
    writer.write(data)
    return writer.finish()


def base_of(path: str) -> str:
    return "/" + path.split("/", 3)[3]


def dfsadmin(hdfs: Hdfs, *arguments: str) -> None:
    classes = f"{hdfs.folder / 'conf'}:{hdfs.name_node.classes}"
    command = ["java", "-Xmx64m", "-cp", classes, "org.apache.hadoop.hdfs.tools.DFSAdmin"]
    subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=120)


def test_t1_a_directory_of_somebody_else_is_denied(
    hdfs: Hdfs, open_hdfs: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    hdfs.admin.mkdirs("/private", 0o755)
    monkeypatch.setenv("HADOOP_USER_NAME", "stranger")
    with pytest.raises(StorageDenied) as caught:
        open_hdfs(f"{hdfs.url}/private/lake").check()
    text = str(caught.value)
    assert text.startswith(
        f"cannot make {hdfs.url}/private/lake/_rayflume/staging: permission is denied; grant it to "
        "the user that runs rayflume (HADOOP_USER_NAME, or its Kerberos principal) "
        "(Permission denied: user=stranger, access=WRITE"
    )
    assert "\n" not in text and "org.apache" not in text
    storage = open_hdfs(hdfs.lake())
    storage.check()
    assert storage.publish([staged(storage)]) == [Published.LANDED]


def test_t1_a_name_node_that_is_not_there_is_said_at_once(open_hdfs: Open) -> None:
    [port] = free_ports(1)
    begin = SystemClock().monotonic_ms()
    with pytest.raises(StorageUnavailable) as caught:
        open_hdfs(f"hdfs://127.0.0.1:{port}/lake").check()
    assert SystemClock().monotonic_ms() - begin < 5_000
    assert str(caught.value) == (
        f"cannot make hdfs://127.0.0.1:{port}/lake/_rayflume/staging: it does not answer; see "
        "that it runs and that the path is right (Connection refused (os error 111))"
    )


def test_t1_validate_asks_the_name_node(hdfs: Hdfs, context: Context) -> None:
    def problems(path: str) -> list[str]:
        options = {"path": path, "format": {"type": "text"}}
        return lookup("sink", "parquet").model_validate(options).check(context)

    [port] = free_ports(1)
    assert problems(hdfs.lake()) == []
    assert "it does not answer" in problems(f"hdfs://127.0.0.1:{port}/lake")[0]


def test_t1_a_file_in_place_of_the_lake_is_denied(hdfs: Hdfs, open_hdfs: Open) -> None:
    path = hdfs.lake()
    hdfs.admin.create(base_of(path)).close()
    with pytest.raises(StorageDenied, match="a file, not a directory"):
        open_hdfs(path).check()


def test_a_name_service_is_asked_past_a_name_node_that_is_gone(
    hdfs: Hdfs, open_hdfs: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = base_of(hdfs.lake())
    by_option = open_hdfs(f"hdfs://{hdfs.service}{path}", hadoop_conf=str(hdfs.client_conf))
    by_option.check()
    assert by_option.publish([staged(by_option)]) == [Published.LANDED]
    monkeypatch.setenv("HADOOP_CONF_DIR", str(hdfs.client_conf))
    for url in (f"hdfs://{hdfs.service}{path}", f"hdfs://{path}"):
        assert open_hdfs(url).list("") == [TARGET]


def test_a_mount_table_leads_to_the_lake(hdfs: Hdfs, open_hdfs: Open) -> None:
    # The library reads it from core-site.xml alone as well.
    site = hdfs.folder / "mounts" / "core-site.xml"
    site.parent.mkdir()
    entries = {"mounts.link./data": f"{hdfs.url}/lakes", "mounts.linkFallback": f"{hdfs.url}/"}
    text = "".join(
        f"<property><name>fs.viewfs.mounttable.{name}</name><value>{value}</value></property>"
        for name, value in entries.items()
    )
    site.write_text(f"<configuration>{text}</configuration>")
    path = base_of(hdfs.lake()).removeprefix("/lakes")
    storage = open_hdfs(f"viewfs://mounts/data{path}", hadoop_conf=str(site.parent))
    storage.check()
    assert storage.publish([staged(storage)]) == [Published.LANDED]
    assert storage.list("") == [TARGET]
    assert list(hdfs.files(f"/lakes{path}")) == [TARGET]


def test_options_reach_the_files(hdfs: Hdfs, open_hdfs: Open) -> None:
    path = hdfs.lake()
    storage = open_hdfs(path, block_size="64KiB", replication=3)
    storage.check()
    data = os.urandom(5 * 65536)  # ends with a block
    assert (
        storage.publish([staged(storage, data), staged(storage, data + b"x", 1)])
        == [Published.LANDED] * 2
    )
    found = hdfs.admin.get_file_info(f"{base_of(path)}/{TARGET}")
    assert (found.blocksize, found.replication, found.permission) == (65536, 3, 0o644)
    assert storage.read(TARGET) == data
    assert storage.sizes("") == {TARGET: len(data), f"dt=1/{data_name(DELIVERY, 1)}": len(data) + 1}


def test_a_large_file_of_many_blocks_can_be_read_anywhere(hdfs: Hdfs, open_hdfs: Open) -> None:
    storage = open_hdfs(hdfs.lake(), block_size="1MiB")
    storage.check()
    table = pa.table({"n": range(1_000_000), "r": [os.urandom(8) for _ in range(1_000_000)]})
    writer = storage.stage(TARGET, DELIVERY)
    pq.write_table(table, sink := io.BytesIO(), row_group_size=100_000)
    data = sink.getvalue()
    for start in range(0, len(data), 3_000_001):
        writer.write(memoryview(data)[start : start + 3_000_001])
    assert storage.publish([writer.finish()]) == [Published.LANDED]
    assert len(data) > 10 << 20
    with contextlib.closing(storage.open(TARGET)) as file:
        assert pq.ParquetFile(file).read_row_group(7).equals(table[700_000:800_000])
        assert file.seek(-4, os.SEEK_END) == len(data) - 4
        assert file.read() == b"PAR1"
        assert file.seek(len(data) + 9) and file.read() == b""


def test_remove_and_open_of_nothing(hdfs: Hdfs, open_hdfs: Open) -> None:
    storage = open_hdfs(hdfs.lake())
    storage.check()
    storage.publish([staged(storage)])
    for path in ("no", "dt=1"):
        with pytest.raises(KeyError):
            storage.open(path)
    left = staged(storage, n=1)
    with pytest.raises(ValueError, match="reserved"):
        storage.remove([TARGET, str(left["staged"])])
    assert storage.list("") == [TARGET]
    storage.remove([TARGET, "dt=1/gone", TARGET])
    assert storage.list("") == []
    assert storage.publish([left]) == [Published.LANDED]


def test_small_files_are_merged_there_as_well(hdfs: Hdfs, open_hdfs: Open) -> None:
    storage = open_hdfs(hdfs.lake())
    storage.check()
    fill(storage)
    options = CompactOptions(min_age_ms=0)
    [partition] = candidates(storage, options)
    done = Compactor(storage, options, SystemClock()).partition(partition)
    assert (done.state, done.files_before, done.files_after) == (State.MERGED, 6, 1)
    assert seen(storage) == once(range(60))


def test_a_quota_is_waited_for(hdfs: Hdfs, open_hdfs: Open) -> None:
    path = hdfs.lake()
    storage = open_hdfs(path, block_size="1MiB")
    storage.check()
    dfsadmin(hdfs, "-setSpaceQuota", "2m", base_of(path))
    writer = storage.stage(TARGET, DELIVERY)
    with pytest.raises(StagingFailed, match="the quota of the directory is used up; raise it"):
        for _ in range(4):
            writer.write(bytes(1 << 20))
    with pytest.raises(StagingFailed):
        writer.finish()
    writer.abort()
    assert storage.staged(JOURNAL) == []
    dfsadmin(hdfs, "-clrSpaceQuota", base_of(path))
    assert storage.publish([staged(storage, bytes(4 << 20))]) == [Published.LANDED]


DEAD = """
import sys, threading
from fakes import context
from pathlib import Path
from rayflume.lake import storage_for
storage = storage_for(sys.argv[1], {"block_size": "64KiB"}, context(Path.cwd(), "dead"))
writer = storage.stage(sys.argv[2], sys.argv[3])
writer.write(bytes(5 << 20))
print("written", flush=True)
threading.Event().wait()
"""


def test_t4_what_a_killed_writer_has_open_is_found_measured_and_deleted(
    hdfs: Hdfs, open_hdfs: Open
) -> None:
    path = hdfs.lake()
    storage = open_hdfs(path)
    storage.check()
    command = [sys.executable, "-c", DEAD, path, TARGET, DELIVERY]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == b"written\n"
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    [(delivery, handle)] = storage.staged(JOURNAL)
    assert delivery == DELIVERY
    assert storage.staged_size(handle) > 1 << 20
    with pytest.raises(OSError):  # the lease is still the dead one's
        hdfs.admin.append(f"{base_of(path)}/{handle['staged']}")
    storage.discard(handle)
    assert storage.staged(JOURNAL) == []
    assert storage.staged_size(handle) == 0
    assert hdfs.files(base_of(path)) == {}


def test_t4_a_writer_that_only_seemed_dead_cannot_finish(hdfs: Hdfs, open_hdfs: Open) -> None:
    storage = open_hdfs(hdfs.lake())
    storage.check()
    writer = storage.stage(TARGET, DELIVERY)
    writer.write(bytes(2 << 20))
    [(_, handle)] = open_hdfs(f"{hdfs.url}{storage._base}").staged(JOURNAL)
    storage.discard(handle)
    with pytest.raises(StagingFailed):
        writer.finish()
    writer.abort()
    assert storage.list("") == []


def test_t4_abort_lets_go_of_the_data_node(hdfs: Hdfs, open_hdfs: Open) -> None:
    def connections() -> int:
        found = psutil.Process().net_connections("tcp")
        to_data = [c for c in found if c.raddr and c.raddr.port == hdfs.ports[2]]
        return len([c for c in to_data if c.status == psutil.CONN_ESTABLISHED])

    storage = open_hdfs(hdfs.lake())
    storage.check()
    before = connections()
    writer = storage.stage(TARGET, DELIVERY)
    writer.write(bytes(2 << 20))
    assert connections() == before + 1
    writer.abort()
    deadline = SystemClock().monotonic_ms() + 10_000
    while connections() > before:
        assert SystemClock().monotonic_ms() < deadline
        threading.Event().wait(0.05)


def test_t3_a_directory_or_another_size_at_the_target_is_anothers(
    hdfs: Hdfs, open_hdfs: Open
) -> None:
    path = hdfs.lake()
    storage = open_hdfs(path)
    storage.check()
    handles = [staged(storage, n=n) for n in range(2)]
    hdfs.admin.mkdirs(f"{base_of(path)}/{TARGET}", create_parent=True)
    with pytest.raises(TargetTaken, match="exists and is not the file of 4 bytes"):
        storage.publish(handles)
    assert storage.list("") == [f"dt=1/{data_name(DELIVERY, 1)}"]  # the others are tried
    hdfs.admin.delete(f"{base_of(path)}/{TARGET}")
    assert storage.publish(handles) == [Published.LANDED] * 2


@pytest.mark.parametrize("moved", [True, False])
def test_t3_a_rename_whose_answer_was_lost_is_looked_up(
    hdfs: Hdfs, open_hdfs: Open, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    storage = open_hdfs(hdfs.lake())
    storage.check()
    handle = staged(storage)
    rename = storage._client.rename

    def lost(source: str, target: str) -> bool:
        if moved:
            rename(source, target)
        raise StorageUnavailable("the connection is gone")

    monkeypatch.setattr(storage._client, "rename", lost)
    with pytest.raises(StorageUnavailable):
        storage.publish([handle])
    monkeypatch.undo()
    assert storage.list("") == ([TARGET] if moved else [])
    assert storage.publish([handle]) == [Published.LANDED]
    assert storage.list("") == [TARGET]
    assert storage.staged(JOURNAL) == []


def test_check_forgets_what_dead_checks_left(hdfs: Hdfs, open_hdfs: Open) -> None:
    path = hdfs.lake()
    storage = open_hdfs(path)
    storage.check()
    for name, age_ms in (("check-old", 4_000_000), ("create-old", 4_000_000), ("create-new", 0)):
        place = f"{base_of(path)}/{STAGING}/{name}"
        hdfs.admin.create(place).close()
        made = hdfs.admin.get_file_info(place).modification_time
        hdfs.admin.set_times(place, made - age_ms, made)
    storage.check()
    left = hdfs.admin.list_status(f"{base_of(path)}/{STAGING}")
    assert [entry.path.rpartition("/")[2] for entry in left] == ["create-new"]


def test_a_name_node_that_hangs_is_given_up_and_gone_on_with(
    hdfs: Hdfs, open_hdfs: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_hdfs(hdfs.lake(), call_timeout="2s")
    storage.check()
    handle = staged(storage)
    process = hdfs.name_node.process
    assert process is not None
    monkeypatch.setattr(_hdfs_client, "HUNG_MAX", 2)
    process.send_signal(signal.SIGSTOP)
    try:
        for _call in range(2):
            with pytest.raises(StorageUnavailable, match="no answer within 2 s"):
                storage.publish([handle])
        with pytest.raises(StorageUnavailable, match="has not answered 2 calls that still wait"):
            storage.publish([handle])
    finally:
        process.send_signal(signal.SIGCONT)
    deadline = SystemClock().monotonic_ms() + 30_000
    while True:
        with contextlib.suppress(StorageUnavailable):
            assert storage.publish([handle]) == [Published.LANDED]
            break
        assert SystemClock().monotonic_ms() < deadline
        threading.Event().wait(0.1)
    assert storage.list("") == [TARGET]


def test_servers_that_die_are_waited_for_and_found_again(hdfs: Hdfs, open_hdfs: Open) -> None:
    storage = open_hdfs(hdfs.lake(), call_timeout="20s")
    storage.check()
    handle, writer = staged(storage), storage.stage(f"dt=1/{data_name(DELIVERY, 1)}", DELIVERY)
    writer.write(bytes(2 << 20))
    hdfs.data_node.kill()
    with pytest.raises(StagingFailed, match="data nodes failed"):
        writer.finish()
    hdfs.name_node.kill()
    writer.abort()
    for call in (lambda: storage.publish([handle]), lambda: storage.list(""), storage.check):
        with pytest.raises(StorageUnavailable, match="does not answer"):
            call()
    hdfs.name_node.start()
    said = ""
    deadline = SystemClock().monotonic_ms() + 60_000
    while "safe mode" not in said:  # until its data node reports
        assert SystemClock().monotonic_ms() < deadline, said
        with pytest.raises(StorageUnavailable) as caught:
            storage.publish([handle])
        said = str(caught.value)
        threading.Event().wait(0.05)
    hdfs.start()
    assert storage.publish([handle]) == [Published.LANDED]
    for _, left in storage.staged(JOURNAL):  # what abort could not delete
        storage.discard(left)
    assert storage.publish([staged(storage, n=1)]) == [Published.LANDED]
