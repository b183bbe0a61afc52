"""Clauses of PollableSource."""

from __future__ import annotations

import json

from rayflume.batch import EventBatch
from rayflume.errors import SourceFailed
from rayflume.testing._expect import raises, same, true
from rayflume.testing._flow import Flow
from rayflume.testing._trial import Trial

_POLLS_MAX = 100_000


def _flow(trial: Trial) -> Flow:
    true(trial.rows, "a trial of a source says in `rows` what its input holds")
    options = trial.part.model_validate(dict(trial.options))
    flow = Flow(options.build, trial.directory)
    trial.started(flow.source)
    return flow


def _replays(trial: Trial) -> bool:
    """Whether a later life reads again what no channel has."""
    return getattr(trial.part, "replay", "lossy") == "replayable"


def _batches(flow: Flow, count: int) -> list[EventBatch]:
    """The next batches, without telling the source what became of them."""
    found: list[EventBatch] = []
    for _ in range(10 * count):
        batch = flow.poll()
        flow.clock.advance(50)
        if batch is not None:
            found.append(batch)
        if len(found) == count:
            return found
    raise AssertionError(f"{len(found)} batches instead of {count}")


def _to_the_end(flow: Flow) -> list[EventBatch]:
    """All batches up to the end that was noted, without telling the source."""
    handed: list[EventBatch] = []
    for _ in range(_POLLS_MAX):
        if flow.source.at_end():
            return handed
        batch = flow.poll()
        if batch is not None:
            handed.append(batch)
    raise AssertionError("the source never comes to its end")


def s1_goes_on_where_the_channel_stands(trial: Trial) -> None:
    flow = _flow(trial)
    if not _replays(trial):
        flow.give(_batches(flow, 1)[0])
        flow.restart()
        flow.channel.retire(flow.source.retired())
        same(flow.channel.live, set())
        flow.source.stop()
        return
    for _ in range(len(trial.rows)):
        for batch in _batches(flow, 1):
            flow.give(batch)
        flow.restart()
        if len(flow.channel.arrived) >= len(trial.rows):
            break
    same(sorted(flow.channel.arrived), sorted(trial.rows))
    flow.source.stop()


def s1_every_stream_begins_with_the_prefix(trial: Trial) -> None:
    flow = _flow(trial)
    flow.finish()
    prefix = flow.source.prefix
    true(prefix.endswith("/"), f"the prefix {prefix!r} ends in `/`, see sources/_stream.py")
    true(flow.channel.positions, "a batch has extents")
    for name in flow.channel.positions:
        true(name.startswith(prefix), f"the stream {name!r} begins with {prefix!r}")
    flow.source.stop()


def s2_extents_follow_each_other_without_a_gap(trial: Trial) -> None:
    flow, ends = _flow(trial), dict[str, int]()
    for batch in _batches(flow, 6):
        true(batch.num_rows > 0, "a batch has rows")
        same(sum(extent.rows for extent in batch.extents), batch.num_rows)
        for extent in batch.extents:
            same(extent.start, ends.get(extent.stream, 0))
            true(extent.end > extent.start, "an extent with rows moves on")
            ends[extent.stream] = extent.end
    flow.source.stop()


def s2_none_when_there_is_nothing_to_read(trial: Trial) -> None:
    flow = _flow(trial)
    flow.finish()
    same(flow.poll(), None)
    true(flow.source.idle_ms > 0, "`idle_ms` is more than 0")
    flow.source.stop()


def s3_batches_are_bounded(trial: Trial) -> None:
    flow, longest = _flow(trial), max(map(len, trial.rows)) + 1
    for batch in _batches(flow, 6):
        if trial.batch_bytes:
            true(
                batch.nbytes <= trial.batch_bytes + longest,
                f"a batch has {batch.nbytes} bytes, more than {trial.batch_bytes} and a row",
            )
    flow.source.stop()


def _rewound(trial: Trial, kept: int) -> None:
    """Four batches are handed out, `kept` of them accepted, and the others read again."""
    flow = _flow(trial)
    found = _batches(flow, 4)
    for batch in found[:kept]:
        true(flow.give(batch), "a batch that follows is stored")
    starts: dict[str, int] = {}
    for batch in found[kept:]:
        for extent in batch.extents:
            starts.setdefault(extent.stream, extent.start)
    for stream, start in starts.items():
        flow.source.rewind(stream, start)
    flow.finish()
    same(sorted(flow.channel.arrived), sorted(trial.rows))
    flow.source.stop()


def s4_rewind_to_the_beginning_reads_the_same_rows_again(trial: Trial) -> None:
    _rewound(trial, 0)


def s4_rewind_behind_one_batch_reads_the_same_rows_again(trial: Trial) -> None:
    _rewound(trial, 1)


def s4_rewind_behind_two_batches_reads_the_same_rows_again(trial: Trial) -> None:
    _rewound(trial, 2)


def s4_rewind_behind_three_batches_reads_the_same_rows_again(trial: Trial) -> None:
    _rewound(trial, 3)


def s4_what_is_read_anew_ends_where_it_is_told(trial: Trial) -> None:
    """As when one channel has rows of an earlier life up to there, and another one has none."""
    if not _replays(trial):
        return  # no stream of an earlier life is ever read anew
    flow = _flow(trial)
    first = _batches(flow, 1)[0].extents[0]
    flow.restart()
    _batches(flow, 1)
    stop = first.end - (first.end - first.start) // first.rows
    flow.source.rewind(first.stream, 0, stop)
    anew = [e for batch in _batches(flow, 6) for e in batch.extents if e.stream == first.stream]
    same([(extent.start, extent.end) for extent in anew[:1]], [(0, stop)])
    true(anew[1].start == stop < anew[1].end, "the extent after it begins there")
    flow.source.stop()


def s4_puts_in_the_wrong_order_heal(trial: Trial) -> None:
    flow = _flow(trial)
    for batch in reversed(_batches(flow, 3)):
        flow.give(batch)
    flow.finish()
    same(sorted(flow.channel.arrived), sorted(trial.rows))
    flow.source.stop()


def s4_a_place_that_cannot_be_found_is_said_so(trial: Trial) -> None:
    flow = _flow(trial)
    flow.finish()
    with raises(SourceFailed):
        flow.source.rewind(f"{flow.source.prefix}1-2/3", 4)
    flow.source.stop()


def s5_input_stays_until_it_is_accepted(trial: Trial) -> None:
    def sizes() -> dict[str, int]:
        files = (path for path in trial.directory.rglob("*") if path.is_file())
        return {str(path): path.stat().st_size for path in files}

    before, flow = sizes(), _flow(trial)
    flow.source.note_end()
    _to_the_end(flow)
    after = sizes()
    same({path: after.get(path) for path in before}, before)
    flow.source.stop()


def s6_at_the_end_only_after_all_was_handed_out(trial: Trial) -> None:
    flow = _flow(trial)
    true(not flow.source.at_end(), "it is not at its end before it was read")
    flow.source.note_end(True)
    same(sum(batch.num_rows for batch in _to_the_end(flow)), len(trial.rows))
    same(flow.poll(), None)
    flow.source.stop()


def s6_rewind_behind_the_end_is_no_longer_the_end(trial: Trial) -> None:
    flow = _flow(trial)
    flow.source.note_end()
    last = _batches(flow, 1)[0]
    _to_the_end(flow)
    flow.source.rewind(last.extents[0].stream, 0)
    true(not flow.source.at_end(), "it is not at its end while rows are to be read again")
    flow.source.stop()


def s7_streams_retire_once_and_only_accepted(trial: Trial) -> None:
    flow = _flow(trial)
    flow.source.note_end()
    handed = _to_the_end(flow)
    same(flow.source.retired(), [])
    for batch in handed:
        true(flow.give(batch), "a batch that follows is stored")
    same(flow.source.retired(), [])
    flow.source.stop()


def s7_describe_is_plain_data(trial: Trial) -> None:
    flow = _flow(trial)
    flow.finish()
    same(json.loads(json.dumps(flow.source.describe())), flow.source.describe())
    flow.source.stop()
