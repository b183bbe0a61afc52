"""Tables of Flume's names: each module holds `PARTS: tuple[FlumePart, ...]`, data and no more.

Names and defaults are those of Flume 1.11; `memory.py` is the example to follow.
"""
