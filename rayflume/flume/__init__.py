"""Everything that knows Flume's files: their grammar, names, verdicts, and the way to a plan.

names.py    what a part of Flume is called, its properties and defaults, what becomes of each
readers.py  the text of a property -> the value of an option
parts/      the tables, one module per family; found by name, there is no list to register in
"""
