r"""Access logs of Apache and nginx, combined and common format, all fields typed.

    host ident user [time] "request" status bytes "referrer" "user_agent"

Text is kept as it was logged, escapes included: the server wrote `\"` for a quote inside a field.
A last field that was cut off before its closing quote is taken as far as it goes.

A regular expression says what a line is. Plain lines, which are nearly all, are read by machine
code (_log_lines), to the same columns and ten times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.component import Component, Context, component, option
from rayflume.formats._columns import finish, null_where, wanted
from rayflume.formats._digits import chars_of, days_of, months, number
from rayflume.formats._options import UNREADABLE_DOC, UnreadableText
from rayflume.formats._rows import Rows, interleaved, replaced
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import TIMESTAMP, Column, arrow_schema
from rayflume.spans import Mask

_QUOTED = r'"(?P<{}>(?:[^"\\]|\\.)*)"'
_LINE = (
    r"^(?P<host>\S+) (?P<ident>\S+) (?P<user>.*?) \[(?P<time>[^\]]{26})\] "
    + _QUOTED.format("request")
    + r" (?P<status>[0-9]{3}|-) (?P<bytes>[0-9]{1,18}|-)"
    + rf"(?: {_QUOTED.format('referrer')} {_QUOTED.format('user_agent')}?)?\s*$"
)
_REQUEST = r"^(?P<method>[A-Za-z]+) (?P<path>\S.*?)(?: (?P<protocol>[A-Z]+/[0-9.]+))?$"
_TIME = r"^[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-2][0-9]:[0-5][0-9]:[0-6][0-9] [-+][0-9]{4}$"
NO_MATCH = 'not a line of an access log: host ident user [time] "request" status bytes ...'
BAD_TIME = "the time is not of the form 17/May/2015:10:05:03 +0000"

COLUMNS = (
    Column("host", pa.string()),
    Column("ident", pa.string()),
    Column("user", pa.string()),
    Column("time", TIMESTAMP),
    Column("method", pa.string()),
    Column("path", pa.string()),
    Column("protocol", pa.string()),
    Column("request", pa.string()),
    Column("status", pa.int32()),
    Column("bytes", pa.int64()),
    Column("referrer", pa.string()),
    Column("user_agent", pa.string()),
)


@component
class CombinedLog(Component):
    """Lines of an Apache or nginx access log (combined or common format); a `-` becomes null."""

    errors: UnreadableText = option(UNREADABLE_DOC, default="dead_letter")

    def build(self, context: Context) -> CombinedLogFormat:
        return CombinedLogFormat(replace=self.errors == "replace")


@dataclass(frozen=True)
class CombinedLogFormat:
    """Rows: as many out as in, good or bad, in order. `method`, `path` and `protocol` are null
    where the request has another form; `request` always has all of it.
    """

    replace: bool = False

    @property
    def declared(self) -> pa.Schema:
        return arrow_schema(COLUMNS)

    def prepare(self) -> None:
        """Load the machine code; its first process on a host makes it, which takes seconds."""
        from rayflume.formats._log_lines import prepare

        prepare()

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded:
        # Here, because a command that only checks a plan need not load a compiler.
        from rayflume.formats._log_lines import read_plain

        columns = wanted(COLUMNS, schema)
        body = replaced(body) if self.replace else body
        plain = read_plain(body)
        if plain.rows.all():
            return finish(Rows(body), plain.arrays, columns)
        rows = Rows(body)
        odd = _odd(rows.part(np.flatnonzero(~plain.rows)), columns)
        if not plain.rows.any():
            return odd
        most = rows.part(np.flatnonzero(plain.rows))
        return interleaved(finish(most, plain.arrays, columns), odd)


def _odd(rows: Rows, columns: tuple[Column, ...]) -> Decoded:
    """Lines as the regular expression has them."""
    rows.drop_unreadable()
    found = pc.extract_regex(rows.text(), _LINE)
    if found.null_count:
        rows.drop(np.asarray(found.is_null()), NO_MATCH)
        found = found.drop_null()
    times, bad = parse_times(found.field("time"))
    if bad.any():
        rows.drop(bad, BAD_TIME)
        good = pa.array(~bad)
        found, times = found.filter(good), times.filter(good)
    return finish(rows, _arrays(found, times), columns)


def _arrays(found: pa.StructArray, times: pa.TimestampArray) -> dict[str, pa.Array]:
    texts = dict(zip((field.name for field in found.type), found.flatten(), strict=True))
    arrays = {name: null_where(text, "-") for name, text in texts.items() if name != "time"}
    for name in ("referrer", "user_agent"):
        arrays[name] = null_where(pc.ascii_rtrim(arrays[name], characters="\r\n"), "")
    request = pc.extract_regex(texts["request"], _REQUEST)
    parts = dict(zip((field.name for field in request.type), request.flatten(), strict=True))
    arrays |= {name: null_where(text, "") for name, text in parts.items()}
    return arrays | {"time": times}


def parse_times(text: pa.StringArray) -> tuple[pa.TimestampArray, Mask]:
    """`17/May/2015:10:05:03 +0200` to UTC, and where it is no such time.

    Digits are computed with; strptime takes twenty times as long and month names from the locale.
    """
    bad = ~np.asarray(pc.match_substring_regex(text, _TIME), dtype=np.bool_)
    chars = chars_of(pc.if_else(pa.array(bad), "01/Jan/1970:00:00:00 +0000", text), 26)
    hour, minute, second = (number(chars[:, i : i + 2]) for i in (12, 15, 18))
    zone = number(chars[:, 22:24]) * 3600 + number(chars[:, 24:26]) * 60
    zone = np.where(chars[:, 21] == ord("-"), -zone, zone)
    days, wrong = days_of(number(chars[:, 7:11]), months(chars[:, 3:6]), number(chars[:, 0:2]))
    bad |= wrong | (hour > 23) | (second > 60)
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second - zone
    return pa.array(np.where(bad, 0, seconds) * 1_000_000).cast(TIMESTAMP), bad
