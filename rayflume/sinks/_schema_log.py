"""The schema of a lake, agreed in the lake: version n is `_rayflume/schema/<n>.json`.

A version is created only if absent and never changes; each has all columns of the one before, in
the same order and of the same types, but that a decimal may have more digits before its point. Who
loses the race for a version reads the winner's, and its
caller decodes again.
"""

from __future__ import annotations

import json
import threading

import pyarrow as pa

from rayflume.errors import JournalDamaged, OptionError, SinkParked
from rayflume.interfaces import Contract, Json, Storage
from rayflume.naming import SCHEMAS, schema_name
from rayflume.schema import (
    FIELDS_MAX,
    count_fields,
    from_json,
    merge,
    prune,
    same_scale,
    to_json,
    type_name,
)
from rayflume.sinks._names import case_conflict


class SchemaLog:
    """The newest agreed schema, and all before it. Thread-safe. All methods may block."""

    def __init__(self, storage: Storage, contract: Contract = Contract.EVOLVE) -> None:
        self.contract = contract
        self._storage = storage
        self._lock = threading.RLock()
        self._known: dict[int, pa.Schema] = {}
        self._newest = 0

    def open(self, declared: pa.Schema | None) -> None:
        """Read the newest version and agree on the declared columns.

        Raises OptionError for a declared column whose type in the lake is another, and for one that
        a frozen lake lacks.
        """
        with self._lock:
            names = self._storage.list(f"{SCHEMAS}/")
            numbers = [int(n) for name in names if (n := _number(name)).isdigit()]
            if numbers:
                self._load(max(numbers))
            if declared is not None:
                self._check(declared)
                self.agree(declared)

    def current(self) -> tuple[int, pa.Schema | None]:
        """Version and schema; (0, None) when nothing is agreed yet."""
        with self._lock:
            return self._newest, self._known.get(self._newest)

    def version(self, number: int) -> pa.Schema | None:
        """The schema of one version; None for 0."""
        if number == 0:
            return None
        with self._lock:
            if number not in self._known:
                self._known[number] = self._read(number)
            return self._known[number]

    def agree(self, fields: pa.Schema) -> None:
        """Add what `fields` has and the lake has not, also inside structs. What exists keeps its
        type, but a decimal gets more digits before its point; what no value was seen of is left
        out.

        Raises SinkParked above FIELDS_MAX fields.
        """
        with self._lock:
            while (union := self._union(fields)) is not None:
                if count_fields(union) > FIELDS_MAX:
                    raise SinkParked(
                        f"the lake would get more than {FIELDS_MAX:,} columns: set `contract: "
                        "ignore` in the sink, and name the columns in the schema of its format"
                    )
                number = self._newest + 1
                text: Json = {"version": number, "schema": to_json(union)}
                if self._storage.create(schema_name(number), json.dumps(text, indent=1).encode()):
                    self._known[number], self._newest = union, number
                else:
                    self._load(number)

    def _union(self, fields: pa.Schema) -> pa.Schema | None:
        """The schema with `fields`; None when it has them all."""
        _, schema = self.current()
        base = pa.schema([]) if schema is None else schema
        union = merge(base, prune(fields), widen=True)
        return None if union.equals(base) else union

    def _load(self, number: int) -> None:
        self._known[number] = self._read(number)
        self._newest = max(self._newest, number)

    def _read(self, number: int) -> pa.Schema:
        path = schema_name(number)
        try:
            return from_json(json.loads(self._storage.read(path))["schema"])
        except (KeyError, ValueError, TypeError) as error:
            raise JournalDamaged(
                f"{path} of the lake cannot be read ({error}): restore it; files name its version"
            ) from error

    def _check(self, declared: pa.Schema) -> None:
        _, schema = self.current()
        lake = {} if schema is None else {field.name: field.type for field in schema}
        names = None if schema is None else case_conflict(schema, declared)
        if names:
            raise OptionError(
                f"column {names[1]!r} is {names[0]!r} in this lake, and Spark ignores case: "
                "declare it as the lake has it"
            )
        for field in declared:
            found = _conflict(field.name, lake.get(field.name, field.type), field.type)
            if found:
                name, there, here = found
                raise OptionError(
                    f"column {name!r} is declared as {type_name(here)}, but in this lake it is "
                    f"{type_name(there)} (schema version {self._newest}), and readers cannot mix "
                    "the two: declare it as the lake has it, or write to another path"
                )
        union = self._union(declared)
        if self.contract is Contract.FREEZE and schema is not None and union is not None:
            name = next(f.name for i, f in enumerate(union) if i >= len(schema) or f != schema[i])
            raise OptionError(
                f"contract: freeze: column {name!r} is declared otherwise than this lake has it "
                f"(schema version {self._newest}): declare it as the lake has it, or start the "
                "sink once with `contract: evolve`"
            )


def _conflict(
    name: str, lake: pa.DataType, declared: pa.DataType
) -> tuple[str, pa.DataType, pa.DataType] | None:
    """The first field, also inside, whose types differ."""
    if pa.types.is_struct(lake) and pa.types.is_struct(declared):
        theirs = {field.name: field.type for field in lake}
        found = (
            _conflict(f"{name}.{field.name}", theirs.get(field.name, field.type), field.type)
            for field in declared
        )
        return next((conflict for conflict in found if conflict), None)
    if pa.types.is_list(lake) and pa.types.is_list(declared):
        return _conflict(f"{name}[]", lake.value_type, declared.value_type)
    fits = lake.equals(declared) or same_scale(lake, declared)
    return None if fits else (name, lake, declared)


def _number(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".json")
