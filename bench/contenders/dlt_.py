"""dlt, in an environment of its own: its JSON lines reader into Parquet on the local disk."""

from __future__ import annotations

from bench.contenders import Contender
from bench.contenders._venv import prepare, python_of
from bench.contenders._worker import WorkerContender

VERSION = "1.31.0"
_NO_LINES = "dlt's file system source reads CSV, JSON lines and Parquet, no plain lines"


class Dlt(WorkerContender):
    """See Contender."""

    def missing(self) -> str:
        return prepare("dlt", f"dlt[parquet]=={VERSION}")


def contender() -> Contender:
    return Dlt(
        name="dlt",
        variants={"dlt": "dlt, filesystem source and destination"},
        tasks=("json", "wide"),
        version=VERSION,
        cannot=dict.fromkeys(("lines", "access", "tiny", "large"), _NO_LINES),
        module="dlt_",
        python=python_of("dlt"),
        share=0.03,
        notes="no partitions by value; `ts` stays a number; adds two columns of its own (load and "
        "row id); parses into Python objects",
    )
