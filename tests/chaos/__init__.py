"""Real processes that die: an agent on three Ray nodes, and a seeded monkey that breaks it.

rows.py     what is sent, and the memory of it
feeds.py    who sends: files that rotate, files dropped in, HTTP clients
hosts.py    three Ray nodes that die, freeze and come back as the same hosts
plant.py    the agent under test: its configuration, its driver, its processes
watcher.py  when committed rows advanced, and what the parts use
monkey.py   the faults, from a seed
judge.py    reads the lakes: lost, doubled, longest stalls
run.py      `make chaos`
"""
