"""Entry point for `ray job submit`: merge the small files of a lake as a job of the cluster.

    ray job submit --working-dir . -- python jobs/compact.py s3://lake/clicks --target 128MiB
    ray job submit --working-dir . -- python jobs/compact.py --config conf/clicks.yaml --sink lake

It is `rayflume compact --address auto`, with the same options: each partition is a Ray task. A job
that is stopped leaves nothing that the next one would not repair.
"""

from __future__ import annotations

import sys

from rayflume.cli import run


def main() -> int:
    """Exit code 0 done, 1 a partition had problems, 2 wrong usage."""
    return run(["compact", "--address", "auto", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
