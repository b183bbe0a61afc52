"""A whole agent in one thread, driven by one seed: simulated disks, store, messages and clock.

    python -m simulation --seeds 0:2000           many schedules on all cores
    python -m simulation --seed 1234              one, with a readable trace of its steps

What runs is rayflume itself: runners, flow, channels with their journals, the Parquet sink, the
supervisor. What is simulated is what they stand on:

    kernel.py    tasks that give way at every wait, processes that die or pause, time
    disk.py      the disk of a host: loses what was not synced, tears, fills up, fails
    lake.py      the object store: fails before or after the work, or does it later
    network.py   calls between actors: delayed, lost, answered too late, sent to the dead
    world.py     an agent on two hosts, its inputs and clients, kept running by its supervisor
    faults.py    what goes wrong, and when
    judge.py     what must hold
    schedule.py  one schedule from its seed to its verdict
    measures.py  the protecting measures, each with a way to switch it off

Not in here: the memory channel, sources that read real files, a sink that reads segments itself
(each one here fetches its rows), and what takes hours, such as the collector's next round.
"""
