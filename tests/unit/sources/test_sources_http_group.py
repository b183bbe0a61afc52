from __future__ import annotations

import asyncio
from pathlib import Path

from rayflume.batch import EventBatch
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.interfaces import Ingested
from rayflume.metrics import Metrics
from rayflume.sources._http_group import Group, Outcome
from rayflume.sources.http import Http

CONTEXT = Context("agent", "web", ManualClock(), Metrics(), Path("/nowhere"), host_id="h1")
ROW = EventBatch.from_events([b"a"])


def test_requests_of_one_turn_of_the_loop_are_one_put() -> None:
    settings = Http.model_validate({"port": 0}).build(CONTEXT)._settings
    puts: list[int] = []

    def ingest(batch: EventBatch) -> Ingested:
        puts.append(batch.num_rows)
        return Ingested(batch.num_rows)

    async def send() -> list[Outcome]:
        group = Group(settings, CONTEXT.clock, ingest)
        try:
            together = await asyncio.gather(*(group.put(ROW, None) for _ in range(5)))
            return [*together, await group.put(ROW, None)]
        finally:
            await group.close()

    assert asyncio.run(send()) == [Outcome.STORED] * 6
    assert puts == [5, 1]
