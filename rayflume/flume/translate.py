"""One part of Flume -> the options of rayflume's part, property by property, from the table.

Every property is honoured, or told with the reason. Flume's defaults are written out where
rayflume's own default is another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rayflume.errors import ConfigError
from rayflume.flume import names
from rayflume.flume.defaults import pruned
from rayflume.flume.findings import Finding, Place
from rayflume.flume.names import COMMON, FlumePart, Prop, Remark, Severity, Status
from rayflume.flume.own import is_own, own_part, what_instead
from rayflume.flume.sections import meant, nearest_of
from rayflume.flume.values import Value, literal

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

KeyPath = tuple[str | int, ...]
_OWN_CLASSES = {"interceptor": "interceptor", "channel_selector": "selector"}
"""Nested parts that have an options class of their own in rayflume -> its kind."""
_AS_FLUME = "as in Flume"


@dataclass
class Translation:
    """The translation of one part of an agent, and all that is to be said about it.

    `where`: `sources.r1`. `place`: of its first property. `dropped`: Flume would not run it either.
    `impossible`: Flume runs it, rayflume cannot.
    """

    agent: str
    where: str
    place: Place
    environ: Mapping[str, str]
    classes: Mapping[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    dropped: bool = False
    impossible: bool = False

    @property
    def key(self) -> str:
        return f"{self.agent}.{self.where}."

    # -- what is said ------------------------------------------------------------------------------

    def tell(self, severity: Severity, name: str, text: str, at: Value | None = None) -> None:
        """A sentence about the property `name` ("": about the part)."""
        place = at.place if at else self.place
        key = (self.key + name).rstrip(".")
        self.findings.append(Finding(place, severity, key, text, self.agent))

    def drop(self, name: str, text: str, at: Value | None = None) -> None:
        """Flume drops the part and goes on."""
        self.dropped = True
        self.tell(Severity.ERROR, name, text, at)
        self.findings[-1] = replace(self.findings[-1], dropped=self.where)

    def refuse(self, name: str, text: str, at: Value | None = None) -> None:
        """The agent cannot run here."""
        self.impossible = True
        self.tell(Severity.ERROR, name, text, at)
        self.findings[-1] = replace(self.findings[-1], fatal=True)

    # -- parts -------------------------------------------------------------------------------------

    def named(self, kind: str, type_name: str, name: str, at: Value | None) -> FlumePart | None:
        """The part that a type names; None after saying why there is none."""
        spoken = kind.replace("_", " ")
        try:
            part = own_part(kind, type_name, self.classes) or names.lookup(kind, type_name)
        except ConfigError as error:
            self.refuse(name, error.message, at)
            return None
        if part is None and is_own(type_name):
            self.refuse(
                name,
                f"{type_name} is a Java class of your own; {what_instead(kind, type_name)}",
                at,
            )
            return None
        if part is None:
            known = [
                one
                for found in names.all_parts()
                if found.kind == kind
                for one in (*found.types, found.java_class)
                if one and one[0] != "<"
            ]
            text = f"there is no {spoken} {type_name!r}{meant(type_name, known)}"
            if kind in ("source", "channel", "sink"):
                self.refuse(name, f"{text}; Flume loads nothing of such a file", at)
            else:
                self.drop(name, f"{text}; {self.where} is dropped, {_AS_FLUME}", at)
            return None
        if part.status is not Status.DONE:
            how = " is not in" if part.status is Status.NEVER else " is not yet in"
            how = "" if " is not yet in rayflume; " in part.why else f"{how} rayflume"
            self.refuse(name, f"the {spoken} {part.name}{how}: {part.why}", at)
        return part

    def options(
        self, part: FlumePart, values: Mapping[str, Value], path: KeyPath, name: str = ""
    ) -> dict[str, Json]:
        """The options of a part that has a class of its own. `name`: what its properties begin
        with, relative to the part of the agent.
        """
        reading = _Reading(self, part, path, name)
        found = reading.read(values)
        kind = _OWN_CLASSES.get(part.kind, part.kind)
        return pruned(kind, part.type, found, reading.defaults, self.environ)


@dataclass
class _Reading:
    """The properties of one part or nested part -> options. `defaults`: paths set from Flume's
    defaults, relative to the options.
    """

    told: Translation
    part: FlumePart
    path: KeyPath
    name: str
    defaults: list[KeyPath] = field(default_factory=list)

    def read(self, values: Mapping[str, Value]) -> dict[str, Json]:
        options: dict[str, Json] = {}
        by_option: dict[KeyPath, str] = {}
        found = {name: self.part.find(name) for name in values}
        ranks = {prop: rank for rank, prop in enumerate(self.part.known)}
        known = [name for name, prop in found.items() if prop is not None]
        for name in sorted(known, key=lambda name: ranks[found[name]]):  # type: ignore[index]
            prop = found[name]
            if prop is not None and not prop.nested:
                self._given(prop, name, values[name], options, by_option)
        for name, prop in found.items():
            if prop is None:
                self._unknown(name, values)
        for prop in self.part.known:
            inner = {n: values[n] for n, one in found.items() if one is prop}
            if prop.nested:
                self._nested(prop, inner, options)
            elif not inner:
                self._absent(prop, options, list(values), found)
        self._finish(options, values)
        return options

    def _finish(self, options: dict[str, Json], values: Mapping[str, Value]) -> None:
        if self.part.finish is None or self.part.status is not Status.DONE:
            return
        given = {name: value.text for name, value in values.items()}
        for remark in self._remarks(options, given):
            at = values.get(remark.name)
            if remark.fatal:
                self.told.refuse(self.name + remark.name, remark.text, at)
            elif remark.severity is Severity.ERROR:
                self.told.drop(self.name + remark.name, remark.text, at)
            else:
                self.told.tell(remark.severity, self.name + remark.name, remark.text, at)

    def _remarks(self, options: dict[str, Json], given: Mapping[str, str]) -> list[Remark]:
        """What `finish` says; a value it cannot read drops the part as one of a property does."""
        assert self.part.finish is not None
        try:
            return list(self.part.finish(options, given) or ())
        except ValueError as error:
            return [Remark(f"{error}; {self.told.where} is dropped, {_AS_FLUME}", Severity.ERROR)]

    # -- one property ------------------------------------------------------------------------------

    def _given(
        self, prop: Prop, name: str, value: Value, options: dict[str, Json],
        by_option: dict[KeyPath, str],
    ) -> None:  # fmt: skip
        full = self.name + name
        if not prop.option:
            if prop not in COMMON.get(self.part.kind, ()):
                self._not_honoured(prop, full, value)
            return
        path = prop.path(prop.match(name) or {})
        if path in by_option:
            text = f"is another name of {by_option[path]!r}, which is given as well and counts"
            self.told.tell(Severity.WARNING, full, text, value)
            return
        try:
            read = prop.read(value.text)
        except ValueError as error:
            self._unreadable(prop, full, value, str(error))
            self._default(prop, options)
            return
        by_option[path] = name
        if read is None:
            return
        _put(options, path, value.written if read == value.text else _escaped(read))
        self.told.places[*self.path, *path] = value.place
        if prop.why:
            self.told.tell(Severity.NOTE, full, prop.why, value)

    def _not_honoured(self, prop: Prop, full: str, value: Value) -> None:
        if prop.severity is Severity.ERROR and self.part.status is Status.DONE:
            self.told.refuse(full, prop.why, value)
        elif self.part.status is Status.DONE:
            self.told.tell(prop.severity, full, f"is not used: {prop.why}", value)

    def _unreadable(self, prop: Prop, full: str, value: Value, why: str) -> None:
        if prop.lenient:
            text = f"{why}; the default {prop.default or ''} applies, {_AS_FLUME}"
            self.told.tell(Severity.WARNING, full, text.replace("  ", " "), value)
            return
        meant_value = value.text.partition(" #")[0].strip()
        hint = f"; did you mean {meant_value!r}?" if meant_value != value.text else ""
        self.told.drop(full, f"{why}{hint}; {self.told.where} is dropped, {_AS_FLUME}", value)

    def _unknown(self, name: str, values: Mapping[str, Value]) -> None:
        known = [prop.name for prop in self.part.known if prop.name not in values]
        text = f"is no property of a {self._spoken} and is ignored, {_AS_FLUME}"
        at = values[name]
        self.told.tell(Severity.WARNING, self.name + name, text + meant(name, known), at)

    def _absent(
        self, prop: Prop, options: dict[str, Json], given: list[str],
        found: Mapping[str, Prop | None],
    ) -> None:  # fmt: skip
        if prop.required and (prop.option or prop not in COMMON.get(self.part.kind, ())):
            near = nearest_of(prop.name, [name for name in given if found[name] is None])
            self._missing(prop, f"; did you mean it with {near!r}?" if near else "")
        self._default(prop, options)

    def _missing(self, prop: Prop, hint: str) -> None:
        text = f"a {self._spoken} needs `{prop.name}`{hint}; {self.told.where} is dropped"
        self.told.drop(self.name + prop.name, f"{text}, {_AS_FLUME}")

    def _default(self, prop: Prop, options: dict[str, Json]) -> None:
        if prop.default is None or not prop.option or prop.match(prop.name) != {}:
            return
        path, value = prop.path({}), prop.read(prop.default)
        if value is not None and _get(options, path) is None:
            _put(options, path, _escaped(value))
            self.defaults.append(path)

    @property
    def _spoken(self) -> str:
        return f"{self.part.name} {self.part.kind.replace('_', ' ')}"

    # -- nested parts ------------------------------------------------------------------------------

    def _nested(self, prop: Prop, inner: dict[str, Value], options: dict[str, Json]) -> None:
        value = inner.get(prop.name)
        if prop.many:
            if value is not None:
                _put(options, prop.path({}), self._list(prop, value, inner))
                return
            if inner:
                self._unlisted(prop, inner, [])
            if prop.required:
                self._missing(prop, "")
            return
        type_name = value.text if value else prop.default
        if not inner and (prop in COMMON.get(self.part.kind, ()) or not _known(prop)):
            return
        if type_name is None:
            for name, one in inner.items():
                text = f"is ignored, for there is no `{prop.name}`"
                self.told.tell(Severity.WARNING, self.name + name, text, one)
            return
        part = self.told.named(prop.nested, type_name, self.name + prop.name, value)
        if part is None:
            return
        own = {n.removeprefix(prop.inner): v for n, v in inner.items() if n != prop.name}
        path = prop.path({}) if prop.option else ()
        if part.kind in _OWN_CLASSES:
            found = self.told.options(part, own, (*self.path, *path), self.name + prop.inner)
        else:
            reading = _Reading(self.told, part, (*self.path, *path), self.name + prop.inner)
            found = reading.read(own)
            self.defaults += [(*path, *one) for one in reading.defaults]
        self._place(prop, part, found, options)
        if value is not None:
            self.told.places[*self.path, *path] = value.place
        elif path and part.kind not in _OWN_CLASSES:
            self.defaults.append(path)

    def _place(
        self, prop: Prop, part: FlumePart, found: dict[str, Json], options: dict[str, Json]
    ) -> None:
        named: dict[str, Json] = {"type": part.type} if part.type else {}
        if prop.option:
            _put(options, prop.path({}), {**named, **found})
        else:
            options |= found

    def _list(self, prop: Prop, value: Value, inner: dict[str, Value]) -> list[Json]:
        items: list[Json] = []
        listed = value.text.split()
        for name in listed:  # one that is there twice acts twice
            path = (*self.path, *prop.path({}), len(items))
            item = self._item(prop, name, value, inner, path)
            if item is not None:
                items.append(item)
        self._unlisted(prop, inner, listed)
        return items

    def _item(
        self, prop: Prop, name: str, value: Value, inner: dict[str, Value], path: KeyPath
    ) -> Json:
        start = f"{prop.inner}{name}."
        own = {n.removeprefix(start): v for n, v in inner.items() if n.startswith(start)}
        kind = own.get("type")
        fallback = next((p.default for p in COMMON[prop.nested] if p.name == "type"), None)
        if kind is None and (fallback is None or not own):
            text = f"{name!r} has no `{start}type`" if own else f"{name!r} is described nowhere"
            others = {n.removeprefix(prop.inner).partition(".")[0] for n in inner} - {prop.name}
            hint = "" if own else meant(name, others)
            where = f"{self.told.where} is dropped, {_AS_FLUME}"
            self.told.drop(self.name + prop.name, f"{text}{hint}; {where}", value)
            return None
        type_name = kind.text if kind else str(fallback)
        part = self.told.named(prop.nested, type_name, f"{self.name}{start}type", kind or value)
        if part is None:
            return None
        self.told.places[path] = (kind or value).place
        rest = {n: v for n, v in own.items() if n != "type"}
        if part.kind in _OWN_CLASSES:
            found = self.told.options(part, rest, path, self.name + start)
        else:
            reading = _Reading(self.told, part, path, self.name + start)
            found = reading.read(rest)
            self.defaults += [(*path[len(self.path) :], *one) for one in reading.defaults]
        return {"type": part.type, **found} if part.type else found

    def _unlisted(self, prop: Prop, inner: dict[str, Value], listed: Iterable[str]) -> None:
        told: set[str] = set()
        for full, value in inner.items():
            name = full.removeprefix(prop.inner).partition(".")[0]
            if full == prop.name or name in listed or name in told:
                continue
            told.add(name)
            text = f"{name!r} is described, but not named in `{prop.name}`, so it is not used"
            hint = meant(name, listed)
            self.told.tell(Severity.WARNING, self.name + full, f"{text}, {_AS_FLUME}{hint}", value)


def _known(prop: Prop) -> bool:
    return prop.default is not None and names.lookup(prop.nested, prop.default) is not None


def _put(options: dict[str, Json], path: KeyPath, value: Json) -> None:
    for key in path[:-1]:
        inner = options.setdefault(str(key), {})
        if not isinstance(inner, dict):
            raise TypeError(f"the table has two options at {path}")
        options = inner
    options[str(path[-1])] = value


def _get(options: Json, path: KeyPath) -> Json:
    for key in path:
        options = options.get(str(key)) if isinstance(options, dict) else None
    return options


def _escaped(value: Json) -> Json:
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return value
