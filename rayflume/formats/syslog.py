"""Syslog messages of RFC 5424 and RFC 3164 to columns.

    <34>1 2003-10-11T22:14:15.003Z host app procid msgid [id name="value"] message
    <34>Oct 11 22:14:15 host app[procid]: message

A row whose priority is followed by a version is of RFC 5424 and must keep to it. RFC 3164 describes
what programs did rather than what they should do, so anything else with a priority or a time is
read as far as it goes, and the rest is its message: files under /var/log have no priority, and
newer daemons write the time as RFC 5424 does.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.clock import Clock
from rayflume.component import Component, Context, component, option
from rayflume.formats._cast import cast_text
from rayflume.formats._columns import finish, null_where, wanted
from rayflume.formats._options import UNREADABLE_DOC, UnreadableText
from rayflume.formats._rows import Rows, interleaved, replaced
from rayflume.formats._syslog_times import yearless_times
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import TIMESTAMP, Column, arrow_schema
from rayflume.spans import Mask
from rayflume.units import TimeZone

_VERSIONED = r"^<[0-9]{1,3}>[1-9][0-9]{0,2} "
_SD = r'-|(?:\[[^\s=\]"]+(?: [^\s=\]"]+="(?:[^"\\]|\\.)*")*\])+'
_RFC_5424 = (
    r"(?s)^<(?P<priority>[0-9]{1,3})>[1-9][0-9]{0,2} (?P<timestamp>\S+) (?P<host>\S+) "
    r"(?P<app>\S+) (?P<procid>\S+) (?P<msgid>\S+) "
    rf"(?P<structured_data>{_SD})(?: (?P<message>.*))?$"
)
_DAY = r"[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}"
_ISO = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[-+][0-9]{2}:?[0-9]{2})"
_RFC_3164 = (
    r"(?s)^(?:<(?P<priority>[0-9]{1,3})>)?"
    rf"(?:(?:(?P<yearless>{_DAY})|(?P<timestamp>{_ISO})) "
    r"(?:(?P<host>[^\s\[]*[^\s\[:]) )?)?"
    r"(?:(?P<app>[^\s:\[\]]+)(?:\[(?P<procid>[^\]\s]*)\])?:(?: |$))?(?P<message>.*)$"
)
_BOM = "\ufeff"
_PRIORITY_MAX = 191
Arrays = dict[str, pa.Array]
NOT_5424 = (
    "not a message of RFC 5424: <priority>version time host app procid msgid [structured data] ..."
)
NOT_3164 = "not a syslog message: it begins with neither a <priority> nor a time"
BAD_PRIORITY = f"the priority is above {_PRIORITY_MAX}"
BAD_TIME = "the time is neither of the form 2003-10-11T22:14:15.003Z nor of Oct 11 22:14:15"

COLUMNS = (
    Column("facility", pa.int32()),
    Column("severity", pa.int32()),
    Column("timestamp", TIMESTAMP),
    Column("host", pa.string()),
    Column("app", pa.string()),
    Column("procid", pa.string()),
    Column("msgid", pa.string()),
    Column("structured_data", pa.string()),
    Column("message", pa.string()),
)


@component
class Syslog(Component):
    """Syslog messages (RFC 5424 and RFC 3164, recognised row by row), all fields as columns.

    `facility` and `severity` are numbers; what a message lacks, or gives as `-`, is null.
    `structured_data` is the text as it was sent. A byte order mark before the message is dropped.
    """

    time_zone: TimeZone = option(
        "Zone of the times of RFC 3164, which name none, such as Europe/Oslo.", default="UTC"
    )
    year: int | None = option(
        "Year of the times of RFC 3164, which have none. Default: the year that brings each of "
        "them nearest to the present, which is wrong for logs older than half a year: name it "
        "for those.",
        default=None,
        ge=1,
        le=9999,
        example=2024,
    )
    errors: UnreadableText = option(UNREADABLE_DOC, default="dead_letter")

    def build(self, context: Context) -> SyslogFormat:
        return SyslogFormat(self, context.clock)


class SyslogFormat:
    """Rows: as many out as in, good or bad, in order."""

    def __init__(self, options: Syslog, clock: Clock) -> None:
        self._zone = "UTC" if options.time_zone.upper() == "UTC" else options.time_zone
        self._year = options.year
        self._replace = options.errors == "replace"
        self._clock = clock

    @property
    def declared(self) -> pa.Schema:
        return arrow_schema(COLUMNS)

    def prepare(self) -> None:
        """Nothing has to be loaded."""

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded:
        rows = Rows(replaced(body) if self._replace else body)
        rows.drop_unreadable()
        columns = wanted(COLUMNS, schema)
        if not len(rows.body):
            return finish(rows, {}, columns)
        rows.body = pc.ascii_rtrim(rows.text(), characters="\r\n\0").cast(pa.binary())
        new = np.asarray(pc.match_substring_regex(rows.text(), _VERSIONED), dtype=np.bool_)
        if new.all():
            return finish(rows, _of_5424(rows), columns)
        if not new.any():
            return finish(rows, self._of_3164(rows), columns)
        first, second = rows.part(np.flatnonzero(new)), rows.part(np.flatnonzero(~new))
        return interleaved(
            finish(first, _of_5424(first), columns),
            finish(second, self._of_3164(second), columns),
            rows.reasons,
        )

    def _of_3164(self, rows: Rows) -> Arrays:
        texts = {n: null_where(text, "") for n, text in _extract(rows, _RFC_3164, NOT_3164).items()}
        whole, yearless, priority = (texts[n] for n in ("timestamp", "yearless", "priority"))
        nothing = pc.and_(pc.is_null(priority), pc.and_(pc.is_null(whole), pc.is_null(yearless)))
        times, bad = _iso_times(whole)
        more, wrong = yearless_times(yearless, self._zone, self._year, self._clock.now_ms())
        arrays = texts | {"timestamp": pc.coalesce(times, more)}
        arrays["nothing"] = nothing
        arrays = _without(rows, arrays, bad | wrong, BAD_TIME)
        return _ranked(rows, _without(rows, arrays, np.asarray(arrays["nothing"]), NOT_3164))


def _of_5424(rows: Rows) -> Arrays:
    found = _extract(rows, _RFC_5424, NOT_5424)
    texts = {n: null_where(text, "" if n == "message" else "-") for n, text in found.items()}
    times, bad = _iso_times(texts["timestamp"])
    message = pc.replace_substring_regex(texts["message"], f"^{_BOM}", "")
    arrays = texts | {"message": message, "timestamp": times}
    return _ranked(rows, _without(rows, arrays, bad, BAD_TIME))


def _extract(rows: Rows, pattern: str, reason: str) -> dict[str, pa.StringArray]:
    """The groups of the rows that match; the others are dropped."""
    found = pc.extract_regex(rows.text(), pattern)
    if found.null_count:
        rows.drop(np.asarray(found.is_null()), reason)
        found = found.drop_null()
    return dict(zip((field.name for field in found.type), found.flatten(), strict=True))


def _iso_times(text: pa.StringArray) -> tuple[pa.TimestampArray, Mask]:
    times, bad = cast_text(text, Column("timestamp", TIMESTAMP))
    return times, np.zeros(len(text), dtype=np.bool_) if bad is None else bad


def _ranked(rows: Rows, arrays: Arrays) -> Arrays:
    """With facility and severity, which the priority has both."""
    priority = arrays["priority"].cast(pa.int32())
    too_high = np.asarray(pc.fill_null(pc.greater(priority, _PRIORITY_MAX), False))
    halves = {
        "facility": pc.shift_right(priority, 3),
        "severity": pc.bit_wise_and(priority, 7),
    }
    return _without(rows, arrays | halves, too_high, BAD_PRIORITY)


def _without(rows: Rows, arrays: Arrays, bad: Mask, reason: str) -> Arrays:
    if not bad.any():
        return arrays
    rows.drop(bad, reason)
    kept = pa.array(~bad)
    return {name: array.filter(kept) for name, array in arrays.items()}
