"""Bodies as text for regular expressions, and the options that hold such expressions."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator

from rayflume.regexes.columns import Matcher

_UTF8 = (
    r"\A(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    r"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    r"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*\z"
)
"""Arrow matches binary values byte by byte, so a set of bytes is well-formed UTF-8 or not."""


def not_utf8(body: pa.BinaryArray) -> pa.BooleanArray:
    """Which bodies are not UTF-8; null is."""
    return pc.fill_null(pc.invert(pc.match_substring_regex(body, _UTF8)), False)


def as_text(body: pa.BinaryArray) -> pa.StringArray:
    """The bodies as strings; bytes that are not UTF-8 become U+FFFD, as in Flume. Null stays null.

    Copies nothing when all bodies are UTF-8.
    """
    try:
        return body.cast(pa.string())
    except pa.ArrowInvalid:
        bad = not_utf8(body)
        # Python per row, but only for rows that are broken
        mended = [value.decode("utf-8", "replace") for value in body.filter(bad).to_pylist()]
        whole = pc.replace_with_mask(body, bad, pa.array(mended, pa.string()).cast(pa.binary()))
        return whole.cast(pa.string())


def checked_regex(pattern: str) -> str:
    """The pattern, if Java would take it. Raises ValueError with a sentence."""
    Matcher.of(pattern)
    return pattern


JavaPattern = Annotated[str, AfterValidator(checked_regex)]
"""An option that holds a regular expression of Java's."""
