"""Everything that knows Flume's files: their grammar, names, verdicts, and the way to a plan.

grammar.py    bytes -> entries that know their lines
values.py     `${...}` in values (dates.py: of `${date:...}`, filters.py: of config filters)
sections.py   entries -> agents, their lists and parts; the name that was probably meant
names.py      what a part of Flume is called, its properties and defaults, what becomes of each
readers.py    the text of a property -> the value of an option
parts/        the tables, one module per family; found by name, there is no list to register in
own.py        what becomes of a user's own Java class
translate.py  one part -> options, by its table (defaults.py: which defaults are written out)
verdict.py    what Flume makes of an agent: what it drops and why (groups.py: sink groups)
build.py      the parts that run -> a configuration of the YAML's shape -> a checked plan
read.py       all of it; `load` is for YAML, too
yaml_text.py  an agent as YAML, with comments
findings.py   what is said
"""
