"""Interceptor `remove_header`: events without some of their headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import model_validator

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.interceptors._text import JavaPattern
from rayflume.regexes import JavaRegex


@component
class RemoveHeader(Component):
    """Remove headers by name, by a list of names, or by a regular expression of names.

    A header that any of the three names is removed. Rows: out = in, same order. Raises: nothing.
    """

    timeless: ClassVar[bool] = True

    with_name: str = option("Header to remove.", default="", example="session")
    from_list: tuple[str, ...] = option(
        "Headers to remove.", default=(), example=["user", "password"]
    )
    matching: JavaPattern = option(
        "Regular expression as in Java (and so in Flume); a header is removed if its whole name "
        "matches.",
        default="",
        example="x_.*",
    )

    @model_validator(mode="after")
    def _removes_something(self) -> RemoveHeader:
        if not (self.with_name or self.from_list or self.matching):
            raise ValueError("it removes nothing; give `with_name`, `from_list` or `matching`")
        return self

    def headers_written(self) -> dict[str, bool]:
        """No row has them, whenever it is read."""
        return {name: True for name in (*self.from_list, self.with_name) if name}

    def build(self, context: Context) -> RemoveHeaderInterceptor:
        names = {*self.from_list, self.with_name} - {""}
        pattern = JavaRegex.compile(self.matching) if self.matching else None
        return RemoveHeaderInterceptor(frozenset(names), pattern)


@dataclass(frozen=True)
class RemoveHeaderInterceptor:
    """Looks at each distinct name once a batch, never at rows."""

    names: frozenset[str]
    pattern: JavaRegex | None

    def intercept(self, batch: EventBatch) -> EventBatch:
        return batch.without_headers(n for n in batch.header_names() if self._goes(n))

    def _goes(self, name: str) -> bool:
        if name in self.names:
            return True
        return self.pattern is not None and self.pattern.matches(name)
