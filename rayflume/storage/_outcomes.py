"""What several files that are published at once have become."""

from __future__ import annotations

from collections.abc import Iterable

from rayflume.errors import Fatal, RayflumeError
from rayflume.interfaces import Published


def all_published(outcomes: Iterable[Published | RayflumeError]) -> list[Published]:
    """The outcomes, in order, if there is no error among them; all were tried by then.

    Raises one of the errors: one that needs an operator before one that time may heal.
    """
    found = list(outcomes)
    errors = [outcome for outcome in found if isinstance(outcome, RayflumeError)]
    for error in sorted(errors, key=lambda error: not isinstance(error, Fatal)):
        raise error
    return [outcome for outcome in found if isinstance(outcome, Published)]
