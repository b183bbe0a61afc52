"""Write `journal_v1_waiting.bin`: a journal that an agent left behind with rows in it.

Made by the code of before there were encrypted rows (version 2 of a record): 20 rows, of which the
first five are delivered. Run once; the bytes are never made anew afterwards.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from fakes import context, deliver, put_numbers

from rayflume.component import lookup

GOLDEN = Path(__file__).with_name("journal_v1_waiting.bin")
NAME = "segment-0000000001.log"
ROWS, DELIVERED = 20, 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = {"directory": "wal", "page_cache": True, "minimum_required_space": 0}
        channel = lookup("channel", "file").model_validate(options).build(context(Path(folder)))
        channel.open()
        put_numbers(channel, 0, DELIVERED)
        deliver(channel)
        put_numbers(channel, DELIVERED, ROWS)
        channel.close()
        GOLDEN.write_bytes((Path(folder) / "wal" / NAME).read_bytes())


if __name__ == "__main__":
    main()
