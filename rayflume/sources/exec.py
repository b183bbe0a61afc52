"""The output of a command."""

from __future__ import annotations

import os
import shutil
from typing import ClassVar, Literal

from pydantic import field_validator

from rayflume.charsets import Charset
from rayflume.component import Component, Context, component, option
from rayflume.errors import OptionError
from rayflume.sources._command import Command
from rayflume.sources._exec_source import ExecSource
from rayflume.units import ByteSize, Millis

_BYTES_MAX = 512 * 2**20


@component
class Exec(Component):
    """Run a command and take the lines it writes. Rows: one per line of its standard output.

    A line ends at a line feed, a carriage return, or both; the end of the output ends the last
    one. The command runs in the directory of the configuration file, without input, with the
    environment and the rights of the agent. While the channel has no room its output is not read,
    so it waits (Flume kills it and loses lines). When it is stopped, the command and all that it
    started (its process group) get SIGTERM, and after 3 s SIGKILL; when the agent itself is killed,
    the command ends with its next write, for nobody reads it. When the agent drains, what is
    in the pipe is taken; with `--until-drained` a command that is not to be restarted is read to
    its end.

    Guarantee: none. What was read and is not in the channel when the source dies is lost, and a
    command that is started anew writes what it likes. To follow files use `taildir`.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "lossy"
    timeless: ClassVar[bool] = True

    command: str = option(
        "The command, split at blanks; quotes and variables mean nothing without a `shell`.",
        example="vmstat 5",
        min_length=1,
    )
    dangerously_allow_command: Literal[True] = option(
        "Must be `true`: whoever may change this configuration may run any program with the rights "
        "of the agent. In a Flume file the command stands for itself.",
        example=True,
    )
    shell: str | None = option(
        "A shell and its options, split at blanks; it gets `command` as its last argument.",
        default=None,
        example="/bin/bash -c",
        min_length=1,
    )
    restart: bool = option("Whether the command is run again when it ends.", default=False)
    restart_throttle: Millis = option(
        "How long to wait before it is run again.", default="10s", validate_default=True
    )
    log_std_err: bool = option(
        "Whether what it writes to standard error goes to the log (escaped, 256 bytes of a line, "
        "20 lines a second) and into the status. Otherwise it is read and thrown away.",
        default=False,
    )
    id: str | None = option(
        "Name of this source in the names of its streams; the part's name if absent.",
        default=None,
        min_length=1,
    )
    batch_size: int = option(
        "Most rows of a batch, 0 for no bound; a batch that has as many does not wait for more. "
        "Flume's default is 20.",
        default=0,
        ge=0,
    )
    batch_bytes: ByteSize = option(
        "Size of a batch; one row may go beyond.",
        default=8 * 2**20,
        ge=1,
        le=_BYTES_MAX,
        example="8MiB",
    )
    batch_timeout: Millis = option(
        "How long rows wait for more before they go on. Flume's default is 3 s.",
        default="200ms",
        validate_default=True,
    )
    max_line_bytes: ByteSize = option(
        "Longest row. A longer line goes on in the next row.",
        default=16 * 2**20,
        ge=1,
        le=_BYTES_MAX,
        example="16MiB",
    )
    charset: Charset = option(
        "Character set of the output, by its name in Java or IANA, and of the bodies. Bodies are "
        "the command's bytes; only UTF-16, UTF-32 and EBCDIC are decoded, to find the lines.",
        default="UTF-8",
        validate_default=True,
    )

    @field_validator("command", "shell")
    @classmethod
    def _has_words(cls, value: str | None) -> str | None:
        if value is not None and (not value.split() or "\0" in value):
            raise ValueError(f"{value!r} names no program")
        return value

    @property
    def words(self) -> list[str]:
        """The program and its arguments."""
        if self.shell is None:
            return self.command.split()
        return [*self.shell.split(), self.command]

    def check(self, context: Context) -> list[str]:
        name = "command" if self.shell is None else "shell"
        program = self.words[0]
        if os.sep in program:
            program = str(context.directory / program)
        if shutil.which(program) is None:
            return [f"{name}: there is no program {self.words[0]!r} that may be run here"]
        return []

    def build(self, context: Context) -> ExecSource:
        """Raises OptionError if there is no such program."""
        for problem in self.check(context):
            raise OptionError(f"{context.part}: {problem}")
        return ExecSource(self, context, Command(self.words, self.log_std_err, context))
