"""Watches the configuration of a running agent and applies what is saved.

The file may be written in place, replaced by a rename (as editors do) or lie behind a symbolic link
that moves on (as in Kubernetes): its directory is watched, and its bytes decide.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from rayflume.agent.changes import Changes, changes
from rayflume.agent.control import is_server
from rayflume.config import AgentPlan, PartPlan, check_host
from rayflume.errors import ConfigError, Retry

log = logging.getLogger(__name__)

DEBOUNCE_MS, STEP_MS = 2_000, 200
"""Writes are one change until none comes for STEP_MS, or for DEBOUNCE_MS at most: an editor saves
in several steps, and a file that is half written may be valid.
"""
LOOK_MS = 500
"""So often the file is looked at although nothing was heard of it."""


Seen = tuple[tuple[int, int], ...]
"""Of each file the time of its last change (ns) and its inode; zeros when it is gone."""


class Appliable(Protocol):
    """agent.inline.InlineAgent or agent.cluster.RayAgent."""

    def apply(self, plan: AgentPlan) -> Changes: ...
    def renewing(self) -> list[str]: ...


@dataclass(frozen=True)
class Reload:
    """How to reload. `read`: the plan of the file, or ConfigError with all that is wrong with it;
    `say` gets sentences for the user; `plan`: in force now. `host`: its parts run on this host,
    which is looked at before. `more`: files that are read with it and watched as well.
    """

    file: Path
    read: Callable[[], AgentPlan]
    say: Callable[[str], None]
    plan: AgentPlan
    host: bool = True
    more: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file, *self.more)

    @property
    def name(self) -> str:
        """The files as one calls them."""
        return ", ".join(map(str, self.files))


def host_problems(old: AgentPlan, new: AgentPlan) -> list[str]:
    """What is wrong on this host with the parts that a new plan adds or changes. Looks at
    directories; a server that changes still has its own port.
    """
    what = changes(old, new)
    asked = {*what.add, *what.change}

    def looked_at(parts: Mapping[str, PartPlan]) -> dict[str, PartPlan]:
        return {
            name: part
            for name, part in parts.items()
            if name in asked and not (is_server(part) and name in old.sources)
        }

    return check_host(
        replace(
            new,
            sources=looked_at(new.sources),
            channels=looked_at(new.channels),
            sinks=looked_at(new.sinks),
        )
    )


class Reloader:
    """Applies a file each time its content changes. `look` is called by one thread, often; a thread
    of its own waits for changes. `close` it at the end.
    """

    def __init__(self, agent: Appliable, reload: Reload) -> None:
        self._agent = agent
        self._reload = reload
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._plan = reload.plan
        self._in_force: list[bytes] | None = None
        self._tried: Seen | None = None
        self._quiet = self._seen()
        self._waits = False
        self._applying = False
        self._thread = threading.Thread(target=self._watch, name="rayflume-reload", daemon=True)
        self._thread.start()
        self._changed.set()  # it may have changed since it was read

    def close(self) -> None:
        """Watch no more. Blocks for a moment."""
        self._ended.set()
        self._thread.join(5)

    def look(self) -> None:
        """Apply the file if it has changed. Blocks while it is read and the agent answers.

        Raises Retry when the agent does not answer; the change is tried again by the next call.
        """
        if self._applying and not self._waits and not self._agent.renewing():
            self._applying = False
            self._reload.say("reloaded: all parts are as the file says")
        if not self._waits and not self._changed.is_set():
            return
        self._changed.clear()
        seen, content = self._seen(), self._content()
        if content is None or (seen == self._tried and not self._waits):
            return  # it is gone, or this was looked at already: the plan in force goes on
        if content == self._in_force:
            self._tried, self._waits = seen, False
            return
        if self._waits and self._agent.renewing():
            return
        self._tried, self._waits = seen, True
        try:
            self._apply(content)
        except Retry:
            raise
        except ConfigError as error:
            self._waits = False
            self._refuse(error)

    def _apply(self, content: list[bytes]) -> None:
        plan = self._reload.read()
        if waiting := self._agent.renewing():
            self._reload.say(f"{self._reload.name} has changed; first {'; '.join(waiting)}")
            return
        problems = host_problems(self._plan, plan) if self._reload.host else []
        if problems:
            raise ConfigError("\n".join(problems), problems=tuple(problems))
        what = self._agent.apply(plan)
        if what or self._in_force is not None:
            self._reload.say(f"{self._reload.name} has changed: {'; '.join(what.lines())}")
        self._plan, self._in_force, self._waits = plan, content, False
        self._applying = bool(what)

    def _refuse(self, error: ConfigError) -> None:
        for problem in error.problems or (error.message,):
            self._reload.say(problem)
        self._reload.say(f"{self._reload.name} is not applied; the plan before goes on")

    def _content(self) -> list[bytes] | None:
        """What is in each; None when one is gone."""
        try:
            return [file.read_bytes() for file in self._reload.files]
        except OSError:
            return None

    def _seen(self) -> Seen:
        """Tells one save from the next, also of the same bytes."""
        return tuple(map(_stamp, self._reload.files))

    def _watch(self) -> None:
        from watchfiles import watch

        directories = {file.absolute().parent for file in self._reload.files}
        while not self._ended.is_set():
            try:
                for events in watch(
                    *directories,
                    watch_filter=None,
                    debounce=DEBOUNCE_MS,
                    step=STEP_MS,
                    rust_timeout=LOOK_MS,
                    yield_on_timeout=True,
                    stop_event=self._ended,
                    recursive=False,
                ):
                    # Without an event a link may lead elsewhere now; then it must have lain still.
                    before, self._quiet = self._quiet, self._seen()
                    if events or before == self._quiet != self._tried:
                        self._changed.set()
            except (OSError, RuntimeError) as error:
                log.warning("%s cannot be watched: %s", self._reload.name, error)
                self._ended.wait(1)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino
