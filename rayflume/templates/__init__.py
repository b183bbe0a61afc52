"""A part of each kind to begin one's own with: `rayflume components my_module.MySink --new sink`.

Each runs as it is and keeps the contract of its kind, see `rayflume.testing`.
"""
