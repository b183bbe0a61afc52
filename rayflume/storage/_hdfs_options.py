"""The options of a lake on HDFS, and which of them go together."""

from __future__ import annotations

import re
from typing import Self

from pydantic import field_validator, model_validator

from rayflume.component import Component, option
from rayflume.storage import _paths
from rayflume.units import ByteSize, Millis

_PATH = re.compile(r"((?:hdfs|viewfs)://([^/\s@?#]*))(/.*)?", re.DOTALL | re.IGNORECASE)


class HdfsOptions(Component):
    """Where the lake is, who asks for it, how its blocks are kept, and how long a call may take."""

    path: str = option(
        "Name node or name service, and directory of the lake; it is made if it does not exist.",
        example="hdfs://namenode:8020/lake/clicks",
    )
    hadoop_conf: str | None = option(
        "Directory of core-site.xml and hdfs-site.xml. Default: HADOOP_CONF_DIR, or etc/hadoop in "
        "HADOOP_HOME; without either, only hdfs://host:port/path is known.",
        default=None,
        example="/etc/hadoop/conf",
    )
    replication: int | None = option(
        "Copies of each block. Default: the name node's dfs.replication.",
        default=None,
        example=3,
        ge=1,
        le=512,
    )
    block_size: ByteSize | None = option(
        "Size of a block, a multiple of 512 bytes. Default: the name node's dfs.blocksize.",
        default=None,
        example="128MiB",
        ge=512,
        multiple_of=512,
    )
    kerberos_principal: str | None = option(
        "Who logs in. Default: who the ticket cache is of.",
        default=None,
        example="rayflume/host@EXAMPLE.COM",
    )
    kerberos_keytab: str | None = option(
        "Keytab of `kerberos_principal`, on the host of the sink. Default: the ticket cache.",
        default=None,
        example="/etc/security/rayflume.keytab",
    )
    kerberos_cache: str | None = option(
        "Ticket cache. Default: KRB5CCNAME, or the system's.",
        default=None,
        example="FILE:/tmp/krb5cc_1000",
    )
    call_timeout: Millis = option(
        "How long a call may take before the delivery is told to come back later.",
        default=120_000,
        example="2min",
        ge=1,
    )

    @property
    def url(self) -> str:
        """Scheme and authority."""
        return _match(self.path)[1]

    @property
    def authority(self) -> str:
        """Name service, or host and port; "" for the default file system."""
        return _match(self.path)[2]

    @property
    def base(self) -> str:
        """The directory of the lake, without a closing `/`; "" for the root."""
        return (_match(self.path)[3] or "").rstrip("/")

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str) -> str:
        base = (_match(value)[3] or "").strip("/")
        if base and _paths.split(base)[0] == ".reserved":
            raise ValueError("/.reserved is HDFS's own")
        return value

    @field_validator("hadoop_conf", "kerberos_keytab")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("write an absolute path, which the sink's host has")
        return value

    @model_validator(mode="after")
    def _whose_keytab(self) -> Self:
        if self.kerberos_principal is None and (self.kerberos_keytab or self.kerberos_cache):
            raise ValueError("kerberos_keytab and kerberos_cache need kerberos_principal")
        return self


def _match(path: str) -> re.Match[str]:
    match = _PATH.fullmatch(path)
    if match is None:
        raise ValueError("write hdfs://host:port/path or hdfs://nameservice/path")
    return match
