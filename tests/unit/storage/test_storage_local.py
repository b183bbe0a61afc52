from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rayflume.component import Context
from rayflume.errors import StorageDenied, StorageUnavailable, TargetTaken
from rayflume.interfaces import Json, Published
from rayflume.lake import storage_for
from rayflume.naming import STAGING, data_name
from rayflume.storage import local
from rayflume.storage.local import Local, LocalStorage

DELIVERY = "00000000000000aa-1-7"
NAME = data_name(DELIVERY, 0)
TARGET = f"dt=1/{NAME}"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def storage(lake: Path) -> LocalStorage:
    storage = LocalStorage(lake)
    storage.check()
    return storage


def staged(storage: LocalStorage, target: str = TARGET, data: bytes = b"rows") -> dict[str, Json]:
    writer = storage.stage(target, DELIVERY)
    writer.write(data)
    return writer.finish()


def test_path_may_be_relative_a_url_or_in_the_home_directory(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for text, place in (
        ("state/lake", tmp_path / "state" / "lake"),
        (f"file://{tmp_path}/url", tmp_path / "url"),
        ("~/lake", tmp_path / "home" / "lake"),
    ):
        storage = storage_for(text, {}, context)
        storage.check()
        storage.create("a", b"1")
        assert (place / "a").read_bytes() == b"1"


def test_path_must_be_a_directory_name() -> None:
    for wrong in ("", "file://host/a", "a\0b", "x://y"):
        with pytest.raises(ValueError, match="write a directory"):
            Local(path=wrong)


def test_check_leaves_only_the_staging_directory(storage: LocalStorage, lake: Path) -> None:
    assert sorted(p.relative_to(lake).as_posix() for p in lake.rglob("*")) == [
        "_rayflume",
        "_rayflume/staging",
    ]


def test_t1_a_path_under_a_file_is_denied_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    storage = LocalStorage(tmp_path / "file" / "lake")
    with pytest.raises(StorageDenied) as caught:
        storage.check()
    assert str(caught.value) == (
        f"cannot write to {tmp_path}/file/lake: a part of the path is a file, not a directory; "
        "correct `path`"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only directory")
def test_t1_a_read_only_directory_is_denied(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageDenied, match="permission is missing"):
        LocalStorage(tmp_path / "lake").check()


def test_t1_a_file_system_without_hard_links_is_denied(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_args: object, **_names: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StorageDenied, match="has no hard links"):
        LocalStorage(lake).check()
    assert list((lake / "_rayflume" / "staging").iterdir()) == []


def test_files_get_what_the_umask_leaves(storage: LocalStorage, lake: Path) -> None:
    before = os.umask(0o027)
    try:
        storage.publish([staged(storage)])
        storage.create("_rayflume/schema/1.json", b"{}")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in lake.rglob("*") if p.is_file()}
    assert modes == {NAME: 0o640, "1.json": 0o640}
    assert stat.S_IMODE((lake / "dt=1").stat().st_mode) == 0o750


def test_a_crash_between_link_and_unlink_counts_as_landed(
    storage: LocalStorage, lake: Path
) -> None:
    handle = staged(storage)
    (lake / "dt=1").mkdir()
    os.link(lake / str(handle["staged"]), lake / TARGET)
    assert LocalStorage(lake).publish([handle]) == [Published.LANDED]
    assert storage.staged("") == []
    assert (lake / TARGET).read_bytes() == b"rows"


def test_a_staged_file_of_another_size_is_proven_lost(storage: LocalStorage, lake: Path) -> None:
    handle = staged(storage)
    os.truncate(lake / str(handle["staged"]), 2)
    assert storage.publish([handle]) == [Published.LOST]
    assert storage.list("") == []


def test_a_lake_that_is_gone_proves_nothing(storage: LocalStorage, lake: Path) -> None:
    handle = staged(storage)
    lake.rename(lake.with_name("unmounted"))
    with pytest.raises(StorageUnavailable, match="is its disk mounted"):
        storage.publish([handle])
    lake.mkdir()
    for call in (
        lambda: storage.publish([handle]),
        lambda: storage.stage(TARGET, DELIVERY),
        lambda: storage.create("a", b""),
    ):
        with pytest.raises(StorageUnavailable, match="is its disk mounted"):
            call()
    lake.rmdir()
    lake.with_name("unmounted").rename(lake)
    assert storage.publish([handle]) == [Published.LANDED]


def test_a_directory_in_place_of_the_target_is_taken(storage: LocalStorage, lake: Path) -> None:
    handle = staged(storage)
    (lake / TARGET).mkdir(parents=True)
    with pytest.raises(TargetTaken, match="move it away"):
        storage.publish([handle])


def test_t3_all_links_are_synced_before_a_staged_name_goes(
    storage: LocalStorage, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles = [staged(storage, f"dt={n % 2}/{data_name(DELIVERY, n)}") for n in range(4)]
    (lake / "dt=0").mkdir()
    (lake / "dt=1").mkdir()
    calls: list[str] = []
    link, unlink, fsync = os.link, os.unlink, os.fsync

    def note_link(src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        calls.append("link")
        link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def note_unlink(path: str, *, dir_fd: int) -> None:
        calls.append("unlink")
        unlink(path, dir_fd=dir_fd)

    def note_fsync(fd: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        fsync(fd)

    monkeypatch.setattr(os, "link", note_link)
    monkeypatch.setattr(os, "unlink", note_unlink)
    monkeypatch.setattr(os, "fsync", note_fsync)
    storage.publish(handles)
    last_link = len(calls) - calls[::-1].index("link")
    assert calls.count("link") == 4
    assert calls[last_link:] == ["sync dt=0", "sync dt=1"] + ["unlink"] * 4
    # The lake's own directory is synced too, because it got the partitions, though not from us.
    assert "sync lake" in calls[:last_link]


def test_t6_symbolic_links_inside_the_lake_are_refused(
    storage: LocalStorage, lake: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    handle = staged(storage)
    (lake / "dt=1").symlink_to(outside)
    (lake / "link").symlink_to(outside / "secret")
    (lake / "dangling").symlink_to(outside / "new")
    for call in (
        lambda: storage.publish([handle]),
        lambda: storage.create("dt=1/x", b""),
        lambda: storage.create("dt=1/deeper/x", b""),
        lambda: storage.read("dt=1/secret"),
        lambda: storage.read("link"),
        lambda: storage.read("dangling"),
        lambda: storage.list("dt=1"),
    ):
        with pytest.raises(ValueError, match="symbolic link"):
            call()
    assert storage.create("dangling", b"x") is False
    assert storage.list("") == []
    assert sorted(p.name for p in outside.iterdir()) == ["secret"]


def test_t6_a_link_as_target_is_refused(storage: LocalStorage, lake: Path, tmp_path: Path) -> None:
    handle = staged(storage)
    (lake / "dt=1").mkdir()
    (lake / TARGET).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="symbolic link"):
        storage.publish([handle])
    assert not (tmp_path / "elsewhere").exists()


def test_t6_a_link_as_staging_directory_is_refused(lake: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (lake / "_rayflume").mkdir(parents=True)
    (lake / "_rayflume" / "staging").symlink_to(tmp_path / "outside")
    storage = LocalStorage(lake)
    for call in (storage.check, lambda: storage.stage(TARGET, DELIVERY)):
        with pytest.raises(ValueError, match="symbolic link"):
            call()
    assert list((tmp_path / "outside").iterdir()) == []


def test_the_base_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "lake").symlink_to(tmp_path / "disk")
    storage = LocalStorage(tmp_path / "lake")
    storage.check()
    assert storage.publish([staged(storage)]) == [Published.LANDED]
    assert (tmp_path / "disk" / TARGET).read_bytes() == b"rows"


def test_t6_a_hostile_handle_deletes_nothing(storage: LocalStorage, lake: Path) -> None:
    (lake / "keep").write_bytes(b"1")
    for name in ("keep", "../keep", "_rayflume/staging/../../keep", f"dt=1/{NAME}", ""):
        with pytest.raises(ValueError):
            storage.discard({"staged": name})
    assert (lake / "keep").exists()


@contextmanager
def full_disk(place: Path) -> Iterator[None]:
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_unavailable_and_says_so(tmp_path: Path) -> None:
    lake = tmp_path / "small"
    with full_disk(lake):
        storage = LocalStorage(lake)
        storage.check()
        writer = storage.stage(TARGET, DELIVERY)
        with pytest.raises(StorageUnavailable) as caught:
            writer.write(bytes(2 << 20))
        text = str(caught.value)
        assert text.startswith(f"cannot write {lake}/_rayflume/staging/{DELIVERY}-")
        assert text.endswith(
            ".staged: the disk is full; free some space, nothing is lost meanwhile"
        )
        for again in (writer.finish, lambda: writer.write(b"x")):
            with pytest.raises(StorageUnavailable, match="the disk is full"):
                again()
        writer.abort()
        assert storage.publish([staged(storage)]) == [Published.LANDED]


def test_a_limit_for_file_sizes_is_unavailable_and_says_so(storage: LocalStorage) -> None:
    writer = storage.stage(TARGET, DELIVERY)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(StorageUnavailable, match="limit for file sizes"):
            writer.write(bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    writer.abort()
    assert storage.staged("") == []


def test_an_aborted_writer_stays_aborted(storage: LocalStorage) -> None:
    writer = storage.stage(TARGET, DELIVERY)
    writer.abort()
    with pytest.raises(StorageUnavailable, match="given up"):
        writer.write(b"x")
    with pytest.raises(StorageUnavailable, match="given up"):
        writer.finish()


def test_finish_may_be_asked_again(storage: LocalStorage) -> None:
    writer = storage.stage(TARGET, DELIVERY)
    writer.write(b"rows")
    assert writer.finish() == writer.finish()


def test_two_processes_may_stage_for_one_delivery(lake: Path) -> None:
    first, second = LocalStorage(lake), LocalStorage(lake)
    first.check()
    handles = [staged(first), staged(second, data=b"ROWS")]
    assert len({str(handle["staged"]) for handle in handles}) == 2
    assert second.publish([handles[1]]) == [Published.LANDED]
    assert (lake / TARGET).read_bytes() == b"ROWS"


def test_the_name_of_a_published_file_is_not_used_again(lake: Path) -> None:
    names = set()
    for n in range(3):
        storage = LocalStorage(lake)  # as a sink that was started again
        storage.check()
        handle = staged(storage, data_name(DELIVERY, n))
        names.add(str(handle["staged"]))
        assert storage.publish([handle]) == [Published.LANDED]
    assert len(names) == 3


def test_remove_leaves_nothing_in_staging_and_no_directory_is_moved(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "lake")
    storage.check()
    for name in ("p=1/a", "p=1/b", "p=2/c"):
        storage.create(name, b"x")
    storage.remove(["p=1/a", "p=2/c", "p=1/a"])
    assert storage.list("") == ["p=1/b"]
    assert list((tmp_path / "lake" / STAGING).iterdir()) == []
    with pytest.raises(StorageDenied, match="it is a directory"):
        storage.remove(["p=1"])
    assert storage.list("") == ["p=1/b"]


def test_a_check_during_a_removal_leaves_the_hidden_file_of_an_old_one(
    storage: LocalStorage, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.create("p=1/a", b"x")
    os.utime(lake / "p=1/a", (0, 0))
    hide, hidden = local._hide, []

    def hide_then_check(fd: int, name: str, staging: int) -> str:
        hidden.append(hide(fd, name, staging))
        storage.check()
        assert [p.name for p in (lake / STAGING).iterdir()] == hidden
        return hidden[-1]

    monkeypatch.setattr(local, "_hide", hide_then_check)
    storage.remove(["p=1/a"])
    assert len(hidden) == 1
    assert [p for p in lake.rglob("*") if p.is_file()] == []


def test_a_hidden_file_that_another_process_took_for_forgotten_is_removed_all_the_same(
    storage: LocalStorage, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.create("p=1/a", b"x")
    storage.create("p=1/b", b"x")
    hide = local._hide

    def hide_then_delete(fd: int, name: str, staging: int) -> str:
        hidden = hide(fd, name, staging)
        if name == "a":
            os.unlink(hidden, dir_fd=staging)
        return hidden

    monkeypatch.setattr(local, "_hide", hide_then_delete)
    storage.remove(["p=1/a", "p=1/b"])
    assert [p for p in lake.rglob("*") if p.is_file()] == []
