"""What runs in a process, and maybe an environment, of its own for one contender."""
