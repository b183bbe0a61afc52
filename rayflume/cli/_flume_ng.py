"""What a user of `flume-ng agent` types: taken with the same meaning, or refused with what to do.

    flume-ng agent -n a1 -c conf -f flume.conf -Dx=y  ->  rayflume run -n a1 -f flume.conf -Dx=y

`-n`, `-f` and `-D` are options of rayflume; these are the others, which no help text shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from rayflume.errors import ConfigError

_FETCHED = "belongs to --conf-uri: give it to the program that fetches the file"
_NO_JAVA = "there is no Java class path; parts of your own are Python (docs/own-parts.md, --map)"
_REFUSED = {
    "zk_conn_string": ("--zkConnString", "-z", "zookeeper"),
    "zk_base_path": ("--zkBasePath", "-p", "zookeeper"),
    "conf_provider": (
        "--conf-provider", "-prov",
        "is a Java class, which cannot run here; let it write a file, and give that with -f",
    ),
    "conf_user": ("--conf-user", "-user", f"{_FETCHED}, as `curl --user`"),
    "conf_password": ("--conf-password", "-pwd", f"{_FETCHED}, as `curl --netrc`"),
    "auth_provider": ("--auth-provider", "", f"{_FETCHED}; -a is --agent here"),
    "backup_directory": (
        "--backup-directory", "-b",
        "no copy is kept: the file is on this host, and is read at the start; leave it out",
    ),
}  # fmt: skip
"""Parameter -> its names, and why not: a sentence, or the kind of configuration source."""
_IGNORED = {
    "classpath": ("--classpath", "-C", f"is not read: {_NO_JAVA}"),
    "plugins_path": ("--plugins-path", "", f"is not read: {_NO_JAVA}"),
    "heap": ("", "-X", "means nothing: bytes in memory are bounded by options of the parts"),
}
_AGENT_LIB = ("gentlib:", "gentpath:")
"""What `-agentlib:...` makes of `-a`."""
_OPTS = Path("/etc/flume/flume.opts")
_JAVA_OPTS = ("JAVA_OPTS", "FLUME_JAVA_OPTS")


def _text(*names: str) -> Any:  # noqa: ANN401 - an annotation
    return Annotated[str | None, typer.Option(*filter(None, names), hidden=True)]


def _texts(*names: str) -> Any:  # noqa: ANN401 - an annotation
    return Annotated[list[str] | None, typer.Option(*filter(None, names), hidden=True)]


def _switch(*names: str) -> Any:  # noqa: ANN401 - an annotation
    return Annotated[bool | None, typer.Option(*names, hidden=True)]


DECLARED: Mapping[str, Any] = {
    "conf_dir": _text("--conf", "-c"),
    "conf_uri": _texts("--conf-uri", "-u"),
    "poll_interval": _text("--poll-interval", "-i"),
    "no_reload_conf": _switch("--no-reload-conf"),
    "dry_run": _switch("--dryrun", "-d"),
    "java_agent": _texts("-j"),
    **{name: _texts(*one[:2]) for name, one in (_REFUSED | _IGNORED).items()},
}
"""Parameter -> its annotation for typer; each is None unless given."""


def refuse(given: Mapping[str, Any], agent: str | None, watch: bool) -> None:
    """Raises ConfigError with a sentence for each option that cannot be taken."""
    problems = []
    for name, (long, short, why) in _REFUSED.items():
        if given[name]:
            problems.append(f"{long or short}: {_of_source(why) if ' ' not in why else why}")
    if given["java_agent"] or (agent is not None and agent.startswith(_AGENT_LIB)):
        problems.append("-javaagent, -agentlib: there is no Java that could have an agent")
    if given["dry_run"]:
        problems.append("--dryrun: use `rayflume validate`, which shows what would run")
    if given["no_reload_conf"] and watch:
        problems.append("--no-reload-conf and --watch: leave one of them out")
    if problems:
        raise ConfigError("\n".join(problems), problems=tuple(problems))


def _of_source(kind: str) -> str:
    from rayflume.flume.names import lookup

    part = lookup("configuration_source", kind)
    assert part is not None
    return part.why


def files_of(uris: Sequence[str]) -> list[Path]:
    """The files that `--conf-uri` names. Raises ConfigError for all that are not on this host."""
    return [_file_of(uri) for uri in uris]


def _file_of(uri: str) -> Path:
    try:
        scheme, host, path, *_ = urlsplit(uri)
    except ValueError as error:
        raise ConfigError(f"--conf-uri: {error}") from None
    if scheme == "file" and host in ("", "localhost") and path:
        return Path(unquote(path))
    if scheme in ("http", "https", "classpath"):
        raise ConfigError(f"--conf-uri {scheme}: {_of_source(scheme)}")
    raise ConfigError("--conf-uri: only file:/PATH is read; give a file of this host with -f")


def notes(given: Mapping[str, Any], watch: bool) -> Iterator[str]:
    """A sentence for each option that was given and changes nothing."""
    for name, (long, short, why) in _IGNORED.items():
        if given[name]:
            yield f"{long or short} {why}"
    if given["poll_interval"]:
        when = "is noticed at once" if watch else "is noticed with --watch only, and then at once"
        yield f"--poll-interval means nothing: a changed file {when}"
    if given["conf_dir"]:
        yield from _of_directory(Path(given["conf_dir"]))


def _of_directory(directory: Path) -> Iterator[str]:
    """What Flume would read in the directory of `--conf`, and rayflume does not."""
    script = directory / "flume-env.sh"
    if _says_something(script):
        yield (
            f"{script} is not run: set its variables before the start, and write the -D of its "
            "JAVA_OPTS on this command line"
        )
    if _says_something(directory / "lookups.properties"):
        yield (
            f"{directory / 'lookups.properties'} is not read: it names Java classes that look "
            "values up; Flume's own look-ups are there"
        )
    for options in (directory / "flume.opts", _OPTS):
        if _says_something(options):
            yield f"{options} is not read: write its options on this command line"


def _says_something(file: Path) -> bool:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.strip() and line.strip()[0] not in "#!" for line in lines)


def java_opts(environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable with `-D`, which only Java would read. No value is shown."""
    for variable in _JAVA_OPTS:
        found = re.findall(r"(?:^|\s)-D([^\s=]+)", environ.get(variable, ""))
        if found:
            names = ", ".join(f"-D {name}" for name in dict.fromkeys(found))
            yield f"{variable} is not read: write its {names} on this command line"
