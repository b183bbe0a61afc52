"""mq-bridge, in an environment of its own: a file endpoint to an object store of Parquet."""

from __future__ import annotations

from bench.contenders import Contender
from bench.contenders._venv import prepare, python_of
from bench.contenders._worker import WorkerContender

VERSION = "1.2.0"
_NO_LINES = "mq-bridge's Parquet takes JSON objects only, no plain lines"


class MqBridge(WorkerContender):
    """See Contender."""

    def missing(self) -> str:
        return prepare("mq_bridge", f"mq-bridge=={VERSION}")


def contender() -> Contender:
    return MqBridge(
        name="mq_bridge",
        variants={"mq_bridge": "mq-bridge, a route for each file"},
        tasks=("json", "wide"),
        version=VERSION,
        cannot=dict.fromkeys(("lines", "access", "tiny", "large"), _NO_LINES),
        module="mq_bridge_",
        python=python_of("mq_bridge"),
        share=0.1,
        notes="no partitions by value; columns are inferred by batch, `ts` stays a number; pages "
        "are not compressed (it has no such setting); syncs its objects once a second",
    )
