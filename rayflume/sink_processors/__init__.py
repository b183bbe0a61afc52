"""Which sink of a group takes the next rows. A module without an underscore is a type."""
