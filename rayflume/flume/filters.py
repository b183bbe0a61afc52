"""Config filters: `${filter['key']}` in a value asks the environment or a program of the user's.

Flume user guide, section Configuration Filters. What a program answers is a secret more often than
not: the plan refers to it as a variable of the environment, which `run` sets for its parts on this
host. It goes to no other host, for Ray would show it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from rayflume.flume import names
from rayflume.flume.findings import Finding
from rayflume.flume.names import Severity, Status
from rayflume.flume.sections import AgentText, Section, meant
from rayflume.flume.values import Answer, Resolver, Surroundings, Value

_ASKED = re.compile(r"""([^\[\]'"]+)\[(['"]?)([A-Za-z0-9_-]+)\2\]""")
_PROGRAM_WAIT_S = 30.0
Ask = Callable[[str], Answer]


class AgentFilters:
    """The config filters of one agent. Calling it answers the inside of one `${...}`."""

    def __init__(self, agent: AgentText, resolver: Resolver, around: Surroundings) -> None:
        self._agent = agent.name
        self._around = around
        self._resolver = resolver
        self._answers: dict[tuple[str, str], Answer] = {}
        self._filters: dict[str, Ask] = {}
        self.findings: list[Finding] = []
        for name in agent.listed("configfilters"):
            section = agent.section("configfilters", name)
            if section is None:
                entry = agent.lists["configfilters"]
                known = agent.sections.get("configfilters", {})
                self._tell(entry.key, f"{name!r} is described nowhere{meant(name, known)}", entry)
                continue
            made = self._filter(section)
            if made is not None:
                self._filters[name] = made

    def __call__(self, inside: str) -> Answer:
        found = _ASKED.fullmatch(inside)
        if found is None or found[1] not in self._filters:
            return None
        name, key = found[1], found[3]
        if (name, key) not in self._answers:
            self._answers[name, key] = self._filters[name](key)
        return self._answers[name, key]

    def _tell(self, key: str, text: str, at: object, fatal: bool = False) -> None:
        place = getattr(at, "place", None)
        assert place is not None
        severity = Severity.ERROR if fatal else Severity.WARNING
        self.findings.append(Finding(place, severity, key, text, self._agent, fatal=fatal))

    def _filter(self, section: Section) -> Ask | None:
        values = {name: self._resolver.value(entry) for name, entry in section.entries.items()}
        kind = values.get("type")
        first = next(iter(values.values()))
        if kind is None:
            self._tell(first.key, "the filter has no `type` and is skipped, as in Flume", first)
            return None
        part = names.lookup("config_filter", kind.text)
        if part is None or part.status is not Status.DONE:
            known = [one.name for one in names.all_parts() if one.kind == "config_filter"]
            why = (
                part.why if part else f"{kind.text!r} is no config filter{meant(kind.text, known)}"
            )
            self._tell(kind.key, f"{why}; the filter is skipped", kind, fatal=part is not None)
            return None
        for name, value in values.items():
            if part.find(name) is None:
                known = [prop.name for prop in part.known]
                self._tell(value.key, f"is no property of this filter{meant(name, known)}", value)
        if part.name == "env":
            return self._environment
        return self._program(section, values)

    def _environment(self, key: str) -> Answer:
        value = self._around.environ.get(key)
        return None if value is None else self._resolver.refer(key, value, hidden=True)

    def _program(self, section: Section, values: dict[str, Value]) -> Ask | None:
        command, kind = values.get("command"), values["type"]
        if command is None or not command.text.split():
            self._tell(kind.key, "the filter has no `command` and is skipped, as in Flume", kind)
            return None
        charset = values["charset"].text if "charset" in values else "UTF-8"
        words = command.text.split()
        if words[0] not in self._around.allow_exec:
            text = f"the filter runs a program, which must be allowed: add --allow-exec {words[0]}"
            self._tell(command.key, text, command, fatal=True)
            return None

        def answer(key: str) -> Answer:
            value = self._output([*words, key], charset, command)
            if value is None:
                return None
            return self._resolver.export(value, self._agent, section.name, key)

        return answer

    def _output(self, command: list[str], charset: str, at: Value) -> str | None:
        shown = " ... ".join([command[0], *command[-1:]])  # its own arguments may hold a secret
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=_PROGRAM_WAIT_S,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            lines = done.stdout.decode(charset, "replace").splitlines()
        except (OSError, ValueError, LookupError, subprocess.TimeoutExpired) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._tell(at.key, f"`{shown}` failed: {reason}; the text stays as it is", at)
            return None
        if done.returncode != 0 or not lines or "\0" in lines[0]:
            how = "it printed a NUL" if lines else "it printed nothing"
            how = f"exit code {done.returncode}" if done.returncode else how
            self._tell(at.key, f"`{shown}` failed: {how}; the text stays as it is", at)
            return None
        if len(lines) > 1:
            self._tell(at.key, f"`{shown}` printed more than a line; the first counts", at)
        return lines[0]
