"""In which order a `load_balance` group turns to its sinks. A module is a type."""
