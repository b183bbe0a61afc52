"""A check of a clause, and the words of the clause from the protocol that has it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from rayflume.testing._trial import Trial

_NAME = re.compile(r"([a-z]\d+)_\w+")


class ContractBroken(AssertionError):
    """A part does not keep a clause; the text has the clause and what was found."""


@dataclass(frozen=True)
class Check:
    """One property of a kind of part. Calling it builds the part of a trial and looks.

    `name`: `k1_publish_twice_by_anyone_is_the_same_as_once`; it begins with the clause.
    """

    name: str
    clause: str
    function: Callable[[Trial], None]

    def __call__(self, trial: Trial) -> None:
        """Raises ContractBroken."""
        try:
            self.function(trial)
        except Exception as error:  # the part's own code, which may raise anything
            about = self.name.partition("_")[2].replace("_", " ")
            found = str(error) if isinstance(error, AssertionError) else repr(error)
            raise ContractBroken(f"{self.clause}\n{about}: {found}") from error
        finally:
            trial.close()

    def __str__(self) -> str:
        return self.name


def checks_of(module: ModuleType, protocols: tuple[type, ...]) -> list[Check]:
    """The functions of a module that are named after a clause, in the order they are written."""
    clauses: dict[str, str] = {}
    for protocol in protocols:
        clauses |= _clauses(protocol)
    found = []
    for name, function in vars(module).items():
        matched = _NAME.fullmatch(name)
        if matched and inspect.isfunction(function):
            found.append(Check(name, clauses[matched[1].upper()], function))
    return found


def _clauses(protocol: type) -> dict[str, str]:
    """`C1` -> `C1  what it says`, from the docstring."""
    doc = inspect.getdoc(protocol) or ""
    pieces = re.split(r"^(?=[A-Z]\d+ )|\n\n", doc, flags=re.MULTILINE)
    texts = (" ".join(piece.split()) for piece in pieces if re.match(r"[A-Z]\d+ ", piece))
    return {text.partition(" ")[0]: text for text in texts}
