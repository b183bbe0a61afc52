"""A Spark session that runs SQL: one JSON line in, one JSON line out. Started by table_spark.py
with the PySpark that the table jars are for.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pyspark.sql import SparkSession


def main() -> None:
    settings = json.loads(sys.argv[1])
    builder: Any = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    print("READY", spark.version, flush=True)
    for line in sys.stdin:
        try:
            found = spark.sql(json.loads(line))
            rows = [row.asDict(recursive=True) for row in found.collect()]
            answer: dict[str, Any] = {"rows": rows, "types": dict(found.dtypes)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:3000]}
        print("ANSWER", json.dumps(answer, default=str), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
