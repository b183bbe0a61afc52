"""The senders of the bench: what they send is what they say."""

from __future__ import annotations

import pytest
from listeners import listening

from bench.senders import Load, lines, send_tcp, send_udp


@pytest.mark.parametrize("kind", ["plain", "rfc3164", "rfc5424"])
@pytest.mark.parametrize("size", [60, 200, 1000])
def test_lines_have_their_size_and_differ(kind: str, size: int) -> None:
    made = lines(kind, size)
    assert {len(line) for line in made} == {size}
    assert len(set(made)) == len(made)
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in made)


@pytest.mark.parametrize(("events", "connections"), [(1, 2), (10, 3), (5_003, 4), (20_000, 3)])
def test_whole_lines_by_tcp_and_an_answer_to_each(events: int, connections: int) -> None:
    load = Load("plain", 200, events, connections, rate=0, answers=True)
    with listening("netcat") as server:
        sent = send_tcp(("127.0.0.1", server.port), load)
        assert (sent.events, sent.bytes) == (events, 200 * events)
        bodies = server.bodies()
    known = {line[:-1] for line in lines("plain", 200)}
    assert len(bodies) == events
    assert set(bodies) <= known


def test_datagrams() -> None:
    load = Load("rfc3164", 200, 300, 2, rate=0, answers=False)
    with listening("netcatudp") as server:
        assert send_udp(("127.0.0.1", server.port), load).bytes == 300 * 199
        server.until_stored(300)
        assert sorted(server.bodies()) == sorted(line[:-1] for line in lines("rfc3164", 200, 300))
