"""Names of character sets as Java and IANA write them, for options such as `input_charset`.

Python knows most of them already; here are the names that only Java has, and one check for all, so
that an unknown name is an error before anything starts and never one of the first row.
"""

from __future__ import annotations

import codecs
import difflib
from typing import Annotated

from pydantic import AfterValidator

_JAVA = {
    "utf-16": "utf-16", "x-utf-16le-bom": "utf-16", "utf-32": "utf-32",
    "x-utf-32le-bom": "utf-32", "x-utf-32be-bom": "utf-32",
    "x-windows-874": "cp874", "windows-31j": "cp932", "x-ms932_0213": "cp932",
    "x-windows-949": "cp949", "x-windows-950": "cp950", "x-mswin-936": "gbk",
    "x-windows-iso2022jp": "iso2022_jp", "x-euc-jp-linux": "euc_jp",
    "x-sjis_0213": "shift_jisx0213", "x-johab": "johab", "x-big5-hkscs-2001": "big5hkscs",
    "x-iso-8859-11": "iso8859-11", "iso-8859-8-i": "iso8859-8", "tis-620": "tis_620",
    "ibm-thai": "cp874", "x-ibm737": "cp737", "x-ibm856": "cp856", "x-ibm874": "cp874",
    "x-ibm1006": "cp1006", "ibm01140": "cp1140", "ibm00858": "cp858", "x-ibm949": "cp949",
    "x-macroman": "mac_roman", "x-maccyrillic": "mac_cyrillic", "x-macgreek": "mac_greek",
    "x-maccentraleurope": "mac_latin2", "x-macturkish": "mac_turkish",
    "x-maciceland": "mac_iceland", "x-maccroatian": "mac_croatian", "x-macromania": "mac_romanian",
}  # fmt: skip
"""Names of Java's own, in lower case -> Python's. The canonical names of IANA need no entry."""
_COMMON = (
    "UTF-8", "US-ASCII", "ISO-8859-1", "ISO-8859-15", "windows-1252", "windows-1251", "UTF-16",
    "UTF-16LE", "UTF-16BE", "UTF-32", "GBK", "GB18030", "Big5", "Shift_JIS", "EUC-JP", "EUC-KR",
    "KOI8-R", "IBM037", "IBM500",
)  # fmt: skip


def codec_of(name: str) -> str:
    """Python's own name of a character set, `utf-8` for `UTF8`.

    Raises ValueError with a name that is near for one that is unknown, or is no set of characters
    (Python also calls base64 and the like by such names).
    """
    text = name.strip()
    try:
        found = codecs.lookup(_JAVA.get(text.lower(), text))
        "".encode(found.name)
    except (LookupError, ValueError):
        near = difflib.get_close_matches(text.upper(), [n.upper() for n in _COMMON], n=1)
        hint = f"did you mean {near[0]}?" if near else f"for example {', '.join(_COMMON[:5])}"
        raise ValueError(f"unknown character set {name!r}; {hint}") from None
    return found.name


def is_ascii_based(codec: str) -> bool:
    """Whether a line feed is the byte 10 and no byte 10 is anything else, so that lines can be
    found in the bytes. Not so for UTF-16, UTF-32 and EBCDIC.
    """
    return "a\n".encode(codec) == b"a\n"


Charset = Annotated[str, AfterValidator(codec_of)]
"""An option that names a character set; its value is Python's name of it."""
