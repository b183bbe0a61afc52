"""A user's own Java class in a Flume file: the one place that says what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping

from rayflume.flume.names import FlumePart, Prop

_PREFIX = "org.apache.flume."


def own_part(kind: str, java_class: str, classes: Mapping[str, str]) -> FlumePart | None:
    """The part that stands for a Java class in `classes` (Java class -> Python's dotted name).

    None when the class is not in it. All properties are handed on under their own names.
    """
    python = classes.get(java_class)
    if python is None:
        return None
    return FlumePart(kind, (), java_class, python, (Prop("*", option="<*>"),))


def is_own(java_class: str) -> bool:
    """Whether a type of no table is a class of a user's own, and not a misspelt one of Flume's."""
    return "." in java_class and not java_class.startswith(_PREFIX)
