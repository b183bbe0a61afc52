"""rayflume.testing: the templates keep every clause, and a part that breaks one is found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rayflume.batch import EventBatch
from rayflume.component import Component, Context
from rayflume.interfaces import Contract, Decoded, DeliveryLimits, Manifest, Share
from rayflume.templates.channel import MyChannel
from rayflume.templates.format import MyFormat
from rayflume.templates.interceptor import MyInterceptor
from rayflume.templates.selector import MySelector
from rayflume.templates.sink import MyDeliverer, MySink
from rayflume.templates.source import MyReader, MySource
from rayflume.testing import Check, ContractBroken, Trial, checks

TEMPLATES: list[tuple[str, type[Component], dict[str, Any]]] = [
    ("source", MySource, {"batch_size": 10, "total": 120}),
    ("interceptor", MyInterceptor, {}),
    ("selector", MySelector, {"header": "kind", "value": "k1", "to": "one"}),
    ("channel", MyChannel, {"directory": "wal"}),
    ("sink", MySink, {"path": "rows.txt"}),
    ("format", MyFormat, {}),
]
CASES = [
    (kind, part, options, check) for kind, part, options in TEMPLATES for check in checks(kind)
]
ROWS = [b"row %d" % number for number in range(120)]


@pytest.mark.parametrize(("kind", "part", "options", "check"), CASES, ids=str)
def test_the_templates_keep_the_contract(
    kind: str, part: type[Component], options: dict[str, Any], check: Check, tmp_path: Path
) -> None:
    assert part.kind == kind
    check(Trial(part, options, tmp_path, ROWS if kind == "source" else (), reopens=True))


# -- parts that break a clause ---------------------------------------------------------------------


class Mixing(MyInterceptor):
    """Turns the rows round."""

    def intercept(self, batch: EventBatch) -> EventBatch:
        return replace(
            batch,
            body=batch.body.take(pa.array(range(batch.num_rows)[::-1], pa.int64())),
            headers={name: batch.header(name)[::-1] for name in batch.header_names()},
        )


class Forgetful(MyInterceptor):
    """Leaves an extent out."""

    def intercept(self, batch: EventBatch) -> EventBatch:
        return replace(batch, extents=batch.extents[:1])


class Touchy(MyInterceptor):
    """Raises for a body that is no text."""

    def intercept(self, batch: EventBatch) -> EventBatch:
        [body.decode() for body in batch.body.to_pylist() if body]
        return batch


class Partial(MySelector):
    """Names one channel only."""

    def select(self, batch: EventBatch, channels: Sequence[str]) -> list[Share]:
        return [Share(channels[0], batch)]


class Deaf(MySource):
    """Cannot read again."""

    def build(self, context: Context) -> MyReader:
        class Reader(MyReader):
            def rewind(self, stream: str, next: int, stop: int = 0) -> None:
                pass

        return Reader(self, context)


class Jumping(MySource):
    """Begins anew after a restart."""

    def build(self, context: Context) -> MyReader:
        class Reader(MyReader):
            def start(self, positions: Mapping[str, Any]) -> None:
                pass

        return Reader(self, context)


class Endless(MySink):
    """Never ends a delivery."""

    def build(self, context: Context) -> MyDeliverer:
        class Deliverer(MyDeliverer):
            def limits(self) -> DeliveryLimits:
                return DeliveryLimits()

        return Deliverer(context.path(self.path), context.part)


class Miscounting(MySink):
    """Says that nothing was written."""

    def build(self, context: Context) -> MyDeliverer:
        class Deliverer(MyDeliverer):
            def begin(self, delivery: str) -> Any:
                writer = super().begin(delivery)
                writer.stage = lambda: Manifest(delivery, context.part)  # type: ignore[method-assign]
                return writer

        return Deliverer(context.path(self.path), context.part)


class Lossy(MyFormat):
    """Leaves bad rows out."""

    def decode(
        self, body: pa.BinaryArray, schema: pa.Schema | None, contract: Contract = Contract.EVOLVE
    ) -> Decoded:
        return replace(super().decode(body, schema, contract), bad=())


class Undocumented(MyInterceptor):
    """Has an option of which nobody knows what it is."""

    colour: str = "red"


class Taken(MySink):
    """Has an option that no configuration can give."""

    path: str = "rows.txt"
    channel: str = "c"


class Open(MyInterceptor, extra="ignore"):
    """Takes any option."""


class Unfinished(MySink):
    """Builds something else."""

    def build(self, context: Context) -> Any:
        return object()


BROKEN = [
    ("interceptor", Mixing, "i1_rows_keep_their_order", "I1 Rows keep their order"),
    ("interceptor", Forgetful, "i1_extents_still_cover_all_that_was_read", "I1 Rows keep"),
    ("interceptor", Touchy, "i2_never_raises_for_what_a_body_holds", "UnicodeDecodeError"),
    ("selector", Partial, "l1_each_required_channel_appears_once_with_all_extents", "L1 Each"),
    ("source", Deaf, "s4_rewind_to_the_beginning_reads_the_same_rows_again", "S4 `rewind"),
    ("source", Jumping, "s1_goes_on_where_the_channel_stands", "S1 `start` gets the positions"),
    ("sink", Endless, "k4_a_delivery_ends_for_some_reason", "K4 `limits` says when"),
    ("sink", Miscounting, "w1_every_row_is_accounted_for", "found (0, 0), wanted (15, 15)"),
    ("format", Lossy, "f3_nasty_rows_are_good_or_bad_and_never_raise", "F3 Never raises"),
    ("interceptor", Undocumented, "p1_the_class_and_its_options_are_documented", "'colour' says"),
    ("sink", Taken, "p2_no_option_has_the_name_of_a_key_of_the_plan", "'channel' is a key"),
    ("interceptor", Open, "p3_an_unknown_option_is_refused", "P3 An unknown option"),
    (
        "sink",
        Unfinished,
        "p4_what_build_makes_has_all_that_its_kind_is_asked_for",
        "`begin`, `close`",
    ),
]


@pytest.mark.parametrize(("kind", "part", "name", "text"), BROKEN)
def test_a_broken_clause_is_named(
    kind: str, part: type[Component], name: str, text: str, tmp_path: Path
) -> None:
    options = next(options for of, _, options in TEMPLATES if of == kind)
    check = next(check for check in checks(kind) if check.name == name)
    with pytest.raises(ContractBroken) as raised:
        check(Trial(part, options, tmp_path, ROWS if kind == "source" else ()))
    assert text in str(raised.value)


def test_every_check_has_the_words_of_its_clause() -> None:
    found = [
        check for kind in ("source", "interceptor", "channel", "sink") for check in checks(kind)
    ]
    assert all(check.clause.startswith(str(check).split("_")[0].upper() + " ") for check in found)
    assert {str(check).split("_")[0] for check in checks("source")} >= {
        f"s{n}" for n in range(1, 8)
    }
    assert [str(check)[:2] for check in checks("server")] == ["p1", "p2", "p3", "p4"]
