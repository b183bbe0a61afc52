"""The error for what `hdfs_native` raises: what, where and what to do.

The library has one exception for most of what a name node answers; the class that Java gave it
stands in the text, and a Java stack after it, which is cut off.
"""

from __future__ import annotations

import re

from rayflume.errors import RayflumeError, StorageDenied, StorageUnavailable

_KIND = re.compile(r'(\w+)(?:\("((?:[^"\\]|\\.)*)"(?:, "((?:[^"\\]|\\.)*)")?)?')
_DENIED = {
    "AccessControlException": "permission is denied; grant it to the user that runs rayflume "
    "(HADOOP_USER_NAME, or its Kerberos principal)",
    "AuthorizationException": "the name node does not accept this user",
    "InvalidPathException": "HDFS does not allow this name",
    "ParentNotDirectoryException": "a part of the path is a file, not a directory; correct `path`",
    "UnresolvedPathException": "the path has a symbolic link in it; a lake has none",
    "InvalidArgument": "the address cannot be used",
    "UrlParseError": "the address cannot be used; correct `path`",
    "GSSAPIError": "Kerberos failed; get a ticket (kinit), or set `kerberos_principal` and "
    "`kerberos_keytab`",
    "SASLError": "the log-in failed",
    "NoSASLMechanism": "the name node wants a log-in that is not set up; set "
    "hadoop.security.authentication in core-site.xml, and `hadoop_conf` to its directory",
}
_LOG_IN = {"GSSAPIError", "SASLError"}
_PASSING = re.compile(r"(contact any|address for|servers for) KDC|expired|EOF")
"""Log-ins that fail for a while: a key centre that is away, a ticket that is renewed late."""
_QUOTA = "the quota of the directory is used up; raise it, nothing is lost meanwhile"
_SAFE = "the name node is in safe mode until its data nodes have reported"
_BUSY = {
    "NSQuotaExceededException": _QUOTA,
    "DSQuotaExceededException": _QUOTA,
    "QuotaByStorageTypeExceededException": _QUOTA,
    "SafeModeException": _SAFE,
    "RetriableException": "the name node asks to come back later",
    "StandbyException": "no name node is active",
    "DataTransferError": "the data nodes failed",
    "LeaseExpiredException": "the file is not this writer's any more",
}
_NO_ROOM = "could only be written to"
_NO_NAME_NODE = "No NameNode hosts found"
_CODED = "not supported for erasure-coded"


def hdfs_error(
    error: BaseException, doing: str, place: str, *, worked: bool = False
) -> RayflumeError:
    """The error that says who acts, for an exception of the library. `worked`: a call like this
    was answered before, so a log-in that fails now is expected to work again.
    """
    cause, said = _read(error)
    about = f"cannot {doing} {place}"
    if _NO_NAME_NODE in said:
        return StorageDenied(
            f"{about}: no name node of that name is known; write hdfs://host:port/path, or set "
            "`hadoop_conf` (or HADOOP_CONF_DIR) to the directory whose hdfs-site.xml names it",
            code=cause,
        )
    if _CODED in said:
        why = "the directory is erasure coded, where no file can be synced; use a replicated one"
        return StorageDenied(f"{about}: {why} (hdfs ec -setPolicy -replicate)", code=cause)
    if cause in _DENIED:
        passing = cause in _LOG_IN and (worked or _PASSING.search(said))
        kind = StorageUnavailable if passing else StorageDenied
        return kind(f"{about}: {_DENIED[cause]}{_quoted(said)}", code=cause)
    if cause in _BUSY:
        return StorageUnavailable(f"{about}: {_BUSY[cause]}{_quoted(said)}", code=cause)
    if _NO_ROOM in said:
        why = "no data node takes the file: are they running, and have they room?"
        return StorageUnavailable(f"{about}: {why}{_quoted(said)}", code=cause)
    if isinstance(error, OSError):
        why = "it does not answer; see that it runs and that the path is right"
        return StorageUnavailable(f"{about}: {why}{_quoted(said)}", code=cause)
    return StorageUnavailable(f"{about}: HDFS failed: {cause}{_quoted(said)}", code=cause)


def _read(error: BaseException) -> tuple[str, str]:
    """What it is, the Java class or the library's own word, and the first line of what was said."""
    text = str(error)
    match = None if isinstance(error, OSError) else _KIND.match(text)
    if match is None or match[2] is None:
        cause = match[1] if match and match[1] in _DENIED else type(error).__name__
        return cause, _line(text)
    if match[3] is None:
        return match[1], _line(match[2])
    return re.split(r"[.$]", match[2])[-1], _line(match[3])


def _line(text: str) -> str:
    """The first line, at most 300 characters, printable. Rust writes its end as two characters."""
    first = text.replace("\\n", "\n").replace("\\t", " ").replace('\\"', '"').partition("\n")[0]
    return "".join(char if char.isprintable() else "?" for char in first)[:300].strip()


def _quoted(said: str) -> str:
    return f" ({said})" if said else ""
