"""Java's regular expressions: what is found, in groups and replaced, as Java 17 does it.

The expected values of CASES are Java's own: `java.util.regex` gave them.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from rayflume.regexes import Hazard, JavaRegex
from rayflume.regexes.columns import Matcher

Case = tuple[str, str, list[str] | None, str]
CASES: list[Case] = [
    # pattern, text, groups of the first match (None: no match), `<$0>` for every match
    ("a.c", "abc", [], "<abc>"),
    ("a.c", "a\nc", None, "a\nc"),
    ("a.c", "a\rc", None, "a\rc"),
    ("a.c", "a\u2028c", None, "a\u2028c"),
    ("(?s)a.c", "a\nc", [], "<a\nc>"),
    ("(?d)a.c", "a\rc", [], "<a\rc>"),
    (r"\s+", "a\x0b\xa0b", [], "a<\x0b>\xa0b"),
    (r"\w+", "é_a1", [], "é<_a1>"),
    (r"(?U)\w+", "é_a1", [], "<é_a1>"),
    (r"\d", "٣", None, "٣"),
    (r"\bé", "xé é", [], "xé <é>"),
    (r"\bab\b", "ab, cab", [], "<ab>, cab"),
    ("ab$", "ab\n", [], "<ab>\n"),
    ("ab$", "ab\r\n", [], "<ab>\r\n"),
    ("ab$", "ab\n\n", None, "ab\n\n"),
    (r"ab\z", "ab\n", None, "ab\n"),
    (r"ab\Z", "ab\u2029", [], "<ab>\u2029"),
    (r"a\r$", "a\r\n", None, "a\r\n"),
    ("(?m)^(b)$", "a\rb\nc", ["b"], "a\r<b>\nc"),
    ("(?m)^", "", None, ""),
    ("(?m)^", "a\n", [], "<>a\n"),
    ("(?m)$", "a\r\nb", [], "a<>\r\nb<>"),
    ("^b", "a\nb", None, "a\nb"),
    ("(?i)straße", "STRAßE", [], "<STRAßE>"),
    ("(?i)é", "É", None, "É"),
    ("(?iu)é", "É", [], "<É>"),
    ("(?i)k", "\u212a", None, "\u212a"),
    ("a(?i)b|c", "aB C", [], "<aB> <C>"),
    ("(a(?i:b))C", "aBC", ["aB"], "<aBC>"),
    ("[a-z&&[^aeiou]]+", "hello", [], "<h>e<ll>o"),
    ("[a-d[m-p]]+", "adxmp", [], "<ad>x<mp>"),
    ("[^a-d&&[^x]]", "xz", [], "<x><z>"),
    ("[]a]+", "]a", [], "<]a>"),
    (r"[\w.-]+@[\w.]+", "x a-b@c.d y", [], "x <a-b@c.d> y"),
    (r"\p{Lu}\p{L}*", "été Été", [], "été <Été>"),
    (r"\p{Alpha}+", "aé", [], "<a>é"),
    (r"\p{IsGreek}+", "aβγ", [], "a<βγ>"),
    (r"\P{Punct}+", "a,b", [], "<a>,<b>"),
    (r"\h+\R", "a\xa0\t\r\nb", [], "a<\xa0\t\r\n>b"),
    (r"\Qa.b\E+", "a.bb", [], "<a.bb>"),
    (r"\x41\u0042\103\t\e".replace(r"\103", r"\0103"), "ABC\t\x1b", [], "<ABC\t\x1b>"),
    (r"\ud83d\ude00", "a😀", [], "a<😀>"),
    (r"(\d+)(?=€)", "5$ 7€", ["7"], "5$ <7>€"),
    ("(?<!x)a", "xa a", [], "xa <a>"),
    ("(?<=a{1,3})b", "aab", [], "aa<b>"),
    (r"(\w)\1", "abba", ["b"], "a<bb>a"),
    (r"(?<q>['\"]).*?\k<q>", "x 'a' \"b\"", ["'"], "x <'a'> <\"b\">"),
    ("a*+a", "aaa", None, "aaa"),
    ("(?>a|ab)c", "abc", None, "abc"),
    ("x*", "axb", [], "<>a<x><>b<>"),
    ("a|b*", "cab", [], "<>c<a><b><>"),
    ("b*?", "bb", [], "<>b<>b<>"),
    ("(a)|(b)", "b", ["", "b"], "<b>"),
    ("(?:(a)|b)*", "ab", ["a"], "<ab><>"),
    ("(?x) a b # both\n c", "abc", [], "<abc>"),
    (r"(?<year>\d{4})-(\d\d)", "on 2026-11", ["2026", "11"], "on <2026-11>"),
    ("a{2,}?", "aaaa", [], "<aa><aa>"),
    ("^$", "\n", [], "<>\n"),
]


@pytest.mark.parametrize(("pattern", "text", "groups", "replaced"), CASES)
def test_what_java_finds(pattern: str, text: str, groups: list[str] | None, replaced: str) -> None:
    matcher = Matcher.of(pattern)
    regex, column = matcher.regex, pa.array(["", None, text, "zzz"]).slice(1, 2)
    assert matcher.found(column).to_pylist() == [False, groups is not None]
    found = matcher.groups(column, regex.groups).to_pylist()[1]
    if groups or groups is None:
        assert (None if found is None else list(found.values())) == groups
    assert matcher.replaced(column, regex.replacement("<$0>")).to_pylist() == [None, replaced]
    match = regex.matcher.search(text)
    assert (match is not None) == (groups is not None)
    assert regex.replace_all(text, regex.replacement("<$0>")) == replaced


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a(?=b)", "look-ahead"),
        ("(?<!a)b", "look-behind"),
        (r"(a)\1", "back-references"),
        ("a++", "possessive"),
        ("(?>a)", "atomic"),
        ("(a*)+", "may be empty"),
        (r"\Ga", r"\G"),
    ],
)
def test_what_re2_lacks_is_named(pattern: str, why: str) -> None:
    regex = JavaRegex.compile(pattern)
    assert regex.re2 == "" and why in regex.why


def test_a_pattern_too_large_for_re2_is_matched_all_the_same() -> None:
    matcher = Matcher.of("(?:ab){1500}")
    assert not matcher.re2
    assert matcher.found(pa.array(["ab" * 1500, "ab" * 1499])).to_pylist() == [True, False]


@pytest.mark.parametrize(
    ("pattern", "hazards"),
    [
        ("^a.b", set()),
        ("a$", {Hazard.ENDS_IN_TERMINATOR}),
        ("(?m)^a", {Hazard.LINES}),
        (r"\ba", {Hazard.NOT_ASCII}),
    ],
)
def test_only_some_anchors_are_hazards(pattern: str, hazards: set[Hazard]) -> None:
    regex = JavaRegex.compile(pattern)
    assert regex.re2 and regex.hazards == hazards


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(a", "a `(` has no `)`"),
        ("a)", "a `)` has no `(`"),
        ("[a", "a `[` has no `]`"),
        ("[b-a]", "ends before it begins"),
        ("*a", "nothing to repeat"),
        ("a{x}", "followed by a count"),
        ("a{3,2}", "ends before it begins"),
        ("{a", r"write `\{`"),
        (r"\y", "means nothing"),
        ("\\", "ends in a single"),
        (r"\p{Nothing}", "no class of characters 'Nothing'"),
        (r"\k<n>", "must name a group"),
        ("(?<n>a)(?<n>b)", "'n' is there twice"),
        ("(?y)a", "begins no group"),
        ("[[:alpha:]]", r"write `\p{Alpha}`"),
        ("(|a)*", "may be empty and would rather be"),
        ("(" * 200 + ")" * 200, "in each other"),
    ],
)
def test_what_java_refuses_is_refused_with_a_sentence(pattern: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        JavaRegex.compile(pattern)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "expected"),
    [
        (r"(\w+)@(\w+)", "$2 at $1", "a@b c", "b at a c"),
        ("(?<user>a)", "[${user}]", "a", "[a]"),
        ("a", r"\$1\\", "a", "$1\\"),
        ("(a)", "$12", "a", "a2"),
        ("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)", "$11-$1", "abcdefghijk", "k-a"),
        ("(a)|b", "<$1>", "ab", "<a><>"),
        ("a", "", "banana", "bnn"),
        ("a", "é", "a", "é"),
    ],
)
def test_replacements(pattern: str, replacement: str, text: str, expected: str) -> None:
    matcher = Matcher.of(pattern)
    by = matcher.regex.replacement(replacement)
    assert matcher.replaced(pa.array([text]), by).to_pylist() == [expected]
    assert matcher.regex.replace_all(text, by) == expected


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        ("$2", "the pattern 1 groups"),
        ("${no}", "the group 'no', which is not there"),
        ("5$", r"write `\$`"),
        ("a\\", r"write `\\`"),
    ],
)
def test_replacements_that_java_refuses(replacement: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        JavaRegex.compile("(a)").replacement(replacement)
    assert message in str(caught.value)
