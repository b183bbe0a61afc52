"""The error tree; each class says who acts.

    RayflumeError
    ├── ConfigError          the user mends the configuration; nothing was started   (exit 2)
    │   └── OptionError      one option of one part is wrong; carries where
    ├── Retry                nothing was taken or lost: come back later
    │   ├── ChannelFull      the channel has no room; carries its credit
    │   ├── ChannelClosed    the channel is stopping, restarting, or not reachable
    │   ├── StorageUnavailable  the store did not answer or throttles; outcome unknown
    │   │   └── StagingFailed       staged bytes are gone or in doubt: give the delivery up
    │   └── PublishUnknown   a publish may or may not have landed: ask again, never discard
    ├── Refused              the caller is wrong about the state; it must look again
    │   ├── PutRefused       an extent does not start where its stream stands; carries `next`
    │   └── LeaseRevoked     the delivery is no longer the caller's; it must publish nothing
    └── Fatal                an operator must act; the part stops and says so
        ├── JournalDamaged   a journal cannot be read as asked (`strict`, unknown version)
        ├── JournalLocked    another process owns the journal; carries the holder
        ├── JournalFailed    a write or fsync failed: the segment is abandoned, re-open
        ├── StorageDenied    wrong credentials, missing bucket, no permission
        ├── LakeDamaged      a lake file is not what its name or its record says
        ├── TargetTaken      a lake file of that name exists and is not of this delivery
        ├── TableRefused     the table cannot have what the sink must commit, or cannot tell
        ├── SinkParked       the dead-letter limit was passed; rows are kept
        └── SourceFailed     the input cannot be read on

Every class keeps its facts as attributes and survives pickling, because errors cross actors.
"""

from __future__ import annotations

import errno

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of an OSError that says: the disk is full."""


class RayflumeError(Exception):
    """Base of all errors of rayflume; never raised itself."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.facts)


def _rebuild(cls: type[RayflumeError], message: str, facts: dict[str, object]) -> RayflumeError:
    return cls(message, **facts)


class ConfigError(RayflumeError):
    """The configuration is wrong. `problems` (if given) lists every one found."""

    problems: tuple[str, ...] = ()


class OptionError(ConfigError):
    """One option of one part is wrong."""


class Retry(RayflumeError):
    """Nothing was taken and nothing was lost; the same call may succeed later."""


class ChannelFull(Retry):
    """The channel has no room. `credit`: bytes it would take now."""

    credit: int = 0


class ChannelClosed(Retry):
    """The channel is stopping, restarting or not reachable."""


class StorageUnavailable(Retry):
    """The store failed, timed out or throttles; whether the call had an effect is unknown."""


class StagingFailed(StorageUnavailable):
    """Staged bytes are gone or cannot be trusted, and asking again will not bring them back: the
    delivery is to be given up, so that its rows come again.
    """


class PublishUnknown(Retry):
    """A publish may or may not have landed. Ask again; never discard after this."""


class Refused(RayflumeError):
    """The caller's picture of the state is wrong."""


class PutRefused(Refused):
    """An extent does not start where its stream stands. `stream`, `next`: go on from there."""

    stream: str = ""
    next: int = 0


class LeaseRevoked(Refused):
    """The delivery is not the caller's any more: publish nothing, start anew."""


class Fatal(RayflumeError):
    """An operator must act; the part stops, keeps its rows and shows this error."""


class JournalDamaged(Fatal):
    """The journal cannot be read as asked: damage under `strict`, or an unknown version."""


class JournalLocked(Fatal):
    """Another process owns the journal's directory. `holder` says which."""

    holder: str = ""


class JournalFailed(Fatal):
    """A write or fsync of the journal failed. Its segment is abandoned; re-open to go on."""


class StorageDenied(Fatal):
    """The store refuses: credentials, permission, or the bucket or directory does not exist."""


class LakeDamaged(Fatal):
    """A lake file cannot be read, or is not what its record says: nothing of it is removed."""


class TargetTaken(Fatal):
    """A lake file of that name exists and does not belong to this delivery."""


class TableRefused(Fatal):
    """The table's columns, partitions or properties do not suit the sink, or the table cannot tell
    any more whether it has a delivery.
    """


class SinkParked(Fatal):
    """The dead-letter limit was passed: rows are kept, nothing of the delivery is published."""


class SourceFailed(Fatal):
    """The source cannot read on without an operator."""
