"""A schema as the numbers that `_avro_kernel` walks along."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rayflume.deserializers import _avro_kernel as kernel

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_PLAIN = {
    "null": (kernel.NULL, 0),
    "boolean": (kernel.FIXED, 1),
    "int": (kernel.NUMBER, 0),
    "long": (kernel.NUMBER, 0),
    "float": (kernel.FIXED, 4),
    "double": (kernel.FIXED, 8),
    "bytes": (kernel.BYTES, 0),
    "string": (kernel.BYTES, 0),
}


@dataclass
class Walk:
    """All types of a schema, the whole schema's the first.

    The schema is one that fastavro has parsed: names are full and known before they are used.
    """

    types: list[tuple[int, int, int]] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    _named: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def of(schema: Json) -> Walk:
        walk = Walk()
        walk._add(schema)
        return walk

    def ends(self, values: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.int64]:
        """Where each of `count` records ends; fewer if the bytes are not of this schema."""
        ends = np.zeros(count, np.int64)
        types = np.array(self.types, np.int64)
        children = np.array(self.children or [0], np.int64)
        return ends[: kernel.record_ends(values, types, children, ends)]

    def _add(self, schema: Json) -> int:
        if isinstance(schema, str) and schema in self._named:
            return self._named[schema]
        node = len(self.types)
        self.types.append((kernel.NULL, 0, 0))
        if isinstance(schema, list):
            self._fill(node, kernel.UNION, schema)
        elif isinstance(schema, dict):
            self._add_complex(node, schema)
        else:
            kind, size = _PLAIN[str(schema)]
            self.types[node] = (kind, 0, size)
        return node

    def _add_complex(self, node: int, schema: dict[str, Json]) -> None:
        kind = schema["type"]
        if kind in ("record", "error", "enum", "fixed"):
            self._named[str(schema["name"])] = node
        if kind in ("record", "error"):
            fields = schema["fields"]
            assert isinstance(fields, list)
            types = [field["type"] for field in fields if isinstance(field, dict)]
            self._fill(node, kernel.RECORD, types)
        elif kind == "enum":
            self.types[node] = (kernel.NUMBER, 0, 0)
        elif kind == "fixed":
            size = schema["size"]
            assert isinstance(size, int)
            self.types[node] = (kernel.FIXED, 0, size)
        elif kind == "array":
            self._fill(node, kernel.ARRAY, [schema["items"]])
        elif kind == "map":
            self._fill(node, kernel.MAP, [schema["values"]])
        elif isinstance(kind, str) and kind in _PLAIN:
            plain, size = _PLAIN[kind]
            self.types[node] = (plain, 0, size)
        else:
            # A type that is written within `type`, or a name: this stands for it, as one field.
            self._fill(node, kernel.RECORD, [kind])

    def _fill(self, node: int, kind: int, schemas: list[Json]) -> None:
        first = len(self.children)
        self.children += [0] * len(schemas)
        self.types[node] = (kind, first, len(schemas))
        for index, schema in enumerate(schemas):
            self.children[first + index] = self._add(schema)
