"""Whether an object has all that its kind of part is called by, told before it is called."""

from __future__ import annotations

from typing import Any

from rayflume.component import Component, Context
from rayflume.errors import ConfigError
from rayflume.interfaces import (
    Channel,
    Format,
    Interceptor,
    PollableSource,
    Selector,
    ServerSource,
    Sink,
    Storage,
)

_PROTOCOLS: dict[str, type] = {
    "channel": Channel,
    "sink": Sink,
    "interceptor": Interceptor,
    "selector": Selector,
    "format": Format,
    "storage": Storage,
}
_BESIDES = {"channel": ("open",)}
"""What the shell calls before the part is what its protocol says."""


def protocol_of(kind: str, part: object) -> type | None:
    """The protocol an object must have; of a source that which it seems to mean. None: no kind that
    is built alone.
    """
    if kind == "source":
        return PollableSource if hasattr(part, "poll") else ServerSource
    return _PROTOCOLS.get(kind)


def lacking(kind: str, part: object) -> list[str]:
    """Names of methods and attributes that the protocol has and the object has not, sorted."""
    protocol = protocol_of(kind, part)
    bases = [base for base in protocol.__mro__ if base is not object] if protocol else []
    names = {name for base in bases for name in vars(base) if not name.startswith("_")}
    return sorted(name for name in {*names, *_BESIDES.get(kind, ())} if not hasattr(part, name))


def built(component: Component, context: Context) -> Any:  # noqa: ANN401 - as Component.build
    """What `build` makes. Raises ConfigError where it is no such part, as a user's may be."""
    part = component.build(context)
    missing = lacking(component.kind, part)
    if missing:
        protocol = protocol_of(component.kind, part)
        assert protocol is not None
        name = getattr(type(component), "type_name", type(component).__name__)
        raise ConfigError(
            f"{component.kind} {context.part}: {name}.build() gives a "
            f"{type(part).__name__} without `{'`, `'.join(missing)}`, which "
            f"rayflume.interfaces.{protocol.__name__} has"
        )
    return part
