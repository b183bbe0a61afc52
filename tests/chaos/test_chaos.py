"""The short version of `make chaos`, and the parts of it that need no cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chaos import judge
from chaos.monkey import WEIGHTS, faults, kinds
from chaos.rows import KEYED, RETRIED, SINGLE, SPAN, Ledgers
from chaos.run import parse

TESTS = Path(__file__).parents[1]
FAULTS, ROWS, SEED = 10, 80_000, 11
LIMIT_S = 420


@pytest.mark.ray
@pytest.mark.s3
@pytest.mark.slow
def test_every_row_is_in_both_lakes_once_whatever_dies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cluster of its own in a process of its own: nodes die that no other test may miss."""
    command = [sys.executable, "-W", "ignore", "-m", "chaos.run", "--seed", str(SEED)]
    command += ["--faults", str(FAULTS), "--rows", str(ROWS), "--results", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    with capsys.disabled():
        print(f"\n{(tmp_path / f'seed-{SEED}.md').read_text() if done.returncode == 0 else ''}")
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-4_000:]
    result = json.loads((tmp_path / f"seed-{SEED}.json").read_text())
    assert len(result["struck"]) == FAULTS
    disk = not any("full disk" in note for note in result["notes"])
    known = set(kinds(("local", "s3"), disk)) - {"hang other"}
    struck = {fault["kind"] for fault in result["struck"]}
    assert len(struck) == FAULTS and struck <= known, "each is of another kind"
    assert {(v["lake"], v["lost"], v["phantom"]) for v in result["verdicts"]} == {
        ("local", 0, 0),
        ("s3", 0, 0),
    }
    assert all(v["doubled"] == 0 for v in result["verdicts"] if v["once"])
    assert all(count > 0 for count in result["dead_letters"].values())


# -- the judge sees ------------------------------------------------------------------------------


def sent_by_http() -> Ledgers:
    """100 keyed rows and 100 without a key, all owed; 100 single ones, of which 10 were acked."""
    sent = Ledgers()
    for kind in (KEYED, RETRIED, SINGLE):
        sent[kind].issue(100)
    sent[SINGLE].ack(20, 10)
    return sent


def ids_of(sent: Ledgers) -> judge.Ids:
    ledgers = [sent[kind] for kind in (KEYED, RETRIED, SINGLE)]
    return np.concatenate([ledger.feed * SPAN + np.arange(100) for ledger in ledgers])


def verdicts_by_kind(ids: judge.Ids, sent: Ledgers) -> dict[str, judge.Verdict]:
    return {verdict.kind: verdict for verdict in judge.judge("lake", ids, sent)}


def test_the_judge_is_content_with_every_row_once() -> None:
    sent = sent_by_http()
    assert all(verdict.good for verdict in judge.judge("lake", ids_of(sent), sent))


def test_the_judge_sees_a_lost_row_and_a_doubled_one() -> None:
    sent = sent_by_http()
    ids = ids_of(sent)
    keyed = KEYED, ids[ids // SPAN == sent[KEYED].feed]
    found = verdicts_by_kind(np.append(ids[ids != keyed[1][7]], keyed[1][9]), sent)[KEYED.name]
    assert (found.lost, found.doubled, found.good) == (1, 1, False)
    assert (found.lost_ids, found.doubled_ids) == ([keyed[1][7]], [keyed[1][9]])


def test_the_judge_allows_doubles_only_where_no_key_was_sent() -> None:
    sent = sent_by_http()
    ids = ids_of(sent)
    found = verdicts_by_kind(np.append(ids, ids), sent)
    assert {name: verdict.good for name, verdict in found.items()} == {
        KEYED.name: False,
        RETRIED.name: True,
        SINGLE.name: False,
    }


def test_the_judge_asks_only_for_what_was_acknowledged() -> None:
    sent = sent_by_http()
    single = sent[SINGLE].feed * SPAN
    ids = ids_of(sent)
    acked = ids[(ids // SPAN != sent[SINGLE].feed) | ((ids >= single + 20) & (ids < single + 30))]
    assert verdicts_by_kind(acked, sent)[SINGLE.name].good
    assert verdicts_by_kind(acked[acked != single + 25], sent)[SINGLE.name].lost == 1


def test_the_judge_sees_rows_that_nobody_sent() -> None:
    sent = sent_by_http()
    stranger = np.append(ids_of(sent), sent[KEYED].feed * SPAN + 100)
    assert verdicts_by_kind(stranger, sent)[KEYED.name].phantom == 1


# -- the monkey keeps to its seed ----------------------------------------------------------------


def test_a_seed_gives_the_same_faults_again_and_every_kind_of_them() -> None:
    both = kinds(("local", "s3"), disk=True)
    assert both == list(WEIGHTS)
    assert faults(5, 200, both) == faults(5, 200, both) != faults(6, 200, both)
    assert set(faults(5, 200, both)) == set(both)
    assert max(Counter(faults(5, 200, both)).values()) < 40


def test_without_s3_and_without_a_small_disk_their_faults_are_left_out() -> None:
    found = kinds(("local",), disk=False)
    assert "kill node" in found
    assert not any(kind.startswith("s3") or kind == "full disk" for kind in found)


def test_the_standard_run_has_two_hundred_faults_and_millions_of_rows() -> None:
    options = parse([])
    assert options.faults >= 200
    assert options.rows >= 2_000_000
    assert options.stores == ("local", "s3")
