"""The bench: `python -m bench.run`."""
