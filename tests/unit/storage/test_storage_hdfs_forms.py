"""The pure half of the HDFS storage: options, and what each failure says. Needs no server."""

from __future__ import annotations

from pathlib import Path

import hdfs_servers
import pytest

from rayflume.component import Context
from rayflume.errors import OptionError, StorageDenied, StorageUnavailable
from rayflume.lake import storage_for, storage_options, storage_type
from rayflume.storage._hdfs_client import HdfsClient
from rayflume.storage._hdfs_errors import hdfs_error
from rayflume.storage.hdfs import Hdfs

IO = "org.apache.hadoop"
PROVIDER = "dfs.client.failover.proxy.provider"
SITE = """<configuration><property><name>{0}.lakes</name><value>x.ObserverReadProxyProvider</value>
</property><property><name>dfs.replication</name><value>2</value></property></configuration>"""


@pytest.mark.parametrize(
    ("path", "url", "authority", "base"),
    [
        ("hdfs://nn:8020/lake/clicks/", "hdfs://nn:8020", "nn:8020", "/lake/clicks"),
        ("hdfs://lakes/a", "hdfs://lakes", "lakes", "/a"),
        ("hdfs:///a b/c%2F", "hdfs://", "", "/a b/c%2F"),
        ("viewfs://mounts/a", "viewfs://mounts", "mounts", "/a"),
        ("hdfs://nn:8020", "hdfs://nn:8020", "nn:8020", ""),
    ],
)
def test_a_path_is_an_address_and_a_directory(
    path: str, url: str, authority: str, base: str
) -> None:
    assert storage_type(path) == "hdfs"
    options = Hdfs(path=path)
    assert (options.url, options.authority, options.base) == (url, authority, base)


@pytest.mark.parametrize(
    "path",
    ["hdfs:/a", "hdfs://user@nn/a", "hdfs://nn/a/../b", "hdfs://nn//a//b", "hdfs://nn/a\0",
     "hdfs://nn/.reserved/raw/a", "hdfs://nn?x/a", "webhdfs://nn/a"],
)  # fmt: skip
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError):
        Hdfs(path=path)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"hadoop_conf": "conf"}, "storage.hadoop_conf: write an absolute path, which the sink's "
         "host has (it is 'conf')"),
        ({"block_size": 700}, "storage.block_size: Input should be a multiple of 512 (it is 700)"),
        ({"replication": 0}, "storage.replication: Input should be greater than or equal to 1 "
         "(it is 0)"),
        ({"kerberos_keytab": "/k"}, "storage: kerberos_keytab and kerberos_cache need "
         "kerberos_principal"),
    ],
)  # fmt: skip
def test_wrong_options_say_what_is_right(options: dict[str, object], problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        storage_options("hdfs://nn/a", options)
    assert caught.value.message == problem


DENIED = [
    (f'RPCError("{IO}.security.AccessControlException", "Permission denied: user=u\\n\\tat x")',
     "permission is denied; grant it to the user that runs rayflume (HADOOP_USER_NAME, or its "
     "Kerberos principal) (Permission denied: user=u)"),
    (f'RPCError("{IO}.fs.InvalidPathException", "Invalid path name /a:b")',
     "HDFS does not allow this name (Invalid path name /a:b)"),
    ('InvalidArgument("No NameNode hosts found")',
     "no name node of that name is known; write hdfs://host:port/path, or set `hadoop_conf` (or "
     "HADOOP_CONF_DIR) to the directory whose hdfs-site.xml names it"),
    ('OperationFailed("hsync is not supported for erasure-coded files")',
     "the directory is erasure coded, where no file can be synced; use a replicated one "
     "(hdfs ec -setPolicy -replicate)"),
    ("NoSASLMechanism",
     "the name node wants a log-in that is not set up; set hadoop.security.authentication in "
     "core-site.xml, and `hadoop_conf` to its directory (NoSASLMechanism)"),
    ('GSSAPIError(GSS_S_FAILURE, 2529639053, "No Kerberos credentials available")',
     "Kerberos failed; get a ticket (kinit), or set `kerberos_principal` and `kerberos_keytab` "
     '(GSSAPIError(GSS_S_FAILURE, 2529639053, "No Kerberos credentials available"))'),
]  # fmt: skip
BUSY = [
    (f'RPCError("{IO}.hdfs.server.namenode.SafeModeException", "It \\"is\\" on")',
     'the name node is in safe mode until its data nodes have reported (It "is" on)'),
    (f'RPCError("{IO}.ipc.StandbyException", "Operation category READ")',
     "no name node is active (Operation category READ)"),
    (f'RPCError("{IO}.hdfs.protocol.DSQuotaExceededException", "The quota is 1")',
     "the quota of the directory is used up; raise it, nothing is lost meanwhile (The quota is 1)"),
    ('RPCError("java.io.IOException", "File /a could only be written to 0 of the 1 nodes")',
     "no data node takes the file: are they running, and have they room? (File /a could only be "
     "written to 0 of the 1 nodes)"),
    ('DataTransferError("All nodes failed for write")',
     "the data nodes failed (All nodes failed for write)"),
    ("something else", "HDFS failed: RuntimeError (something else)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), DENIED)
def test_an_operator_must_act(text: str, why: str) -> None:
    error = hdfs_error(RuntimeError(text), "write", "hdfs://nn/a")
    assert isinstance(error, StorageDenied)
    assert str(error) == f"cannot write hdfs://nn/a: {why}"


@pytest.mark.parametrize(("text", "why"), BUSY)
def test_it_is_asked_again(text: str, why: str) -> None:
    error = hdfs_error(RuntimeError(text), "write", "hdfs://nn/a")
    assert isinstance(error, StorageUnavailable)
    assert str(error) == f"cannot write hdfs://nn/a: {why}"


@pytest.mark.parametrize(
    "text",
    [
        "GSSAPIError(GSS_S_FAILURE, 2529639068, \"Cannot contact any KDC for realm 'LAKES'\")",
        'GSSAPIError(GSS_S_FAILURE, 2529639024, "Cannot resolve network address for KDC in realm")',
        'GSSAPIError(GSS_S_FAILURE, 2529638944, "Ticket expired")',
        'GSSAPIError(GSS_S_CREDENTIALS_EXPIRED, 0, "The referenced credential has expired")',
        'SASLError("unexpected EOF")',
    ],
)
def test_a_key_centre_that_is_away_and_a_late_ticket_are_waited_for(text: str) -> None:
    error = hdfs_error(RuntimeError(text), "write", "hdfs://nn/a")
    assert isinstance(error, StorageUnavailable)
    assert str(error).startswith("cannot write hdfs://nn/a: ")


@pytest.mark.parametrize("text", ['GSSAPIError(GSS_S_FAILURE, 1, "unknown")', 'SASLError("no")'])
def test_a_log_in_that_fails_is_asked_again_once_one_has_worked(text: str) -> None:
    client = HdfsClient(Hdfs(path="hdfs://localhost:1/a"))

    def fail(_: object) -> None:
        raise RuntimeError(text)

    with pytest.raises(StorageDenied) as denied:
        client.call("write", "/a", fail)
    client.call("list", "/a", lambda _: None)
    with pytest.raises(StorageUnavailable) as busy:
        client.call("write", "/a", fail)
    assert str(busy.value) == str(denied.value)


def test_a_permission_that_was_taken_away_is_denied_though_calls_have_worked() -> None:
    client = HdfsClient(Hdfs(path="hdfs://localhost:1/a"))

    def fail(_: object) -> None:
        raise RuntimeError(f'RPCError("{IO}.security.AccessControlException", "no")')

    client.call("list", "/a", lambda _: None)
    with pytest.raises(StorageDenied):
        client.call("write", "/a", fail)


def test_no_answer() -> None:
    lost = hdfs_error(OSError("Connection refused (os error 111)"), "list", "hdfs://nn/a")
    assert isinstance(lost, StorageUnavailable)
    assert str(lost) == (
        "cannot list hdfs://nn/a: it does not answer; see that it runs and that the path is right "
        "(Connection refused (os error 111))"
    )


def test_an_observer_is_never_asked_and_after_a_silence_any_name_node_may_be_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hdfs-site.xml").write_text(SITE.format(PROVIDER))
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    client = HdfsClient(Hdfs(path="hdfs:///a"))
    active = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
    assert client._settings()[f"{PROVIDER}.lakes"] == active
    assert not [name for name in client._settings() if "random" in name]
    client._gave_up = True
    assert client._settings()["dfs.client.failover.random.order.lakes"] == "true"


def test_a_directory_without_hadoops_files_is_said(context: Context, tmp_path: Path) -> None:
    storage = storage_for("hdfs://lakes/a", {"hadoop_conf": str(tmp_path)}, context)
    with pytest.raises(StorageDenied) as caught:
        storage.check()
    assert str(caught.value) == (
        f"hadoop_conf: {tmp_path} has neither core-site.xml nor hdfs-site.xml"
    )
    (tmp_path / "hdfs-site.xml").write_text("<configuration>")
    with pytest.raises(StorageDenied, match=r"hdfs-site\.xml cannot be read: no element found"):
        storage.check()
    storage.close()


def test_an_unknown_name_service_is_said(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    storage = storage_for("hdfs://lakes/a", {}, context)
    with pytest.raises(StorageDenied, match="no name node of that name is known"):
        storage.check()
    storage.close()


def test_without_java_or_maven_tests_skip_but_not_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = r"HDFS is not tested: java and mvn not found \(Debian: maven\)"
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=line):
        hdfs_servers.require()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=line):
        hdfs_servers.require()
