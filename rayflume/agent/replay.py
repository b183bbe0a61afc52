"""Dead letters into the lake again, each row once: which files, through which journal, to which
sink.

A replay is an agent run. Its source reads dead-letter files, its sink is one of the configuration,
and the journal between them makes every row count once, however often the run is killed. So that no
other journal replays the same file, a file is claimed in the lake before it is read:

    _rayflume/replay/<file>.claim   created only if absent: the journal that replays it
    _rayflume/replay/<file>.done    all its rows are committed

A run finishes the claims of its journal that are not done, and takes on the files that nobody has
claimed. While it has unfinished ones it leaves alone what its own journal wrote: rows that fail
again wait for the next replay, and are never read in circles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from rayflume.agent.parts import Place, host_id
from rayflume.clock import Clock, SystemClock
from rayflume.component import nearest
from rayflume.config import AgentPlan, PartPlan, Placement, component_of
from rayflume.errors import ConfigError, JournalLocked
from rayflume.interfaces import Json, Storage
from rayflume.lake import storage_for, storage_type
from rayflume.naming import (
    DEAD_LETTERS,
    REPLAY,
    RESERVED,
    claim_name,
    delivery_of,
    done_name,
    parse_delivery,
)


@dataclass(frozen=True)
class Chosen:
    """Dead letters and the sink that gets them. `file`: the one file that was asked for, ""
    for all of the lake's.
    """

    lake: str
    file: str
    sink: PartPlan


@dataclass
class Replay:
    """What is to be replayed. `resumed`: how many of the `files` an earlier run had begun.

    `elsewhere`: claims of other journals that are not done, a sentence each.
    """

    chosen: Chosen
    plan: AgentPlan
    journal: str
    files: list[str] = field(default_factory=list)
    resumed: int = 0
    elsewhere: list[str] = field(default_factory=list)


def choose(plan: AgentPlan, dead_letters: str, sink: str | None) -> Chosen:
    """Where dead letters lie and which sink they go to.

    `dead_letters`: a lake, its folder of dead letters, or one file of it. Raises ConfigError.
    """
    lake, file = _split(dead_letters)
    lakes = {part.name: path for part in plan.sinks.values() if (path := _lake_of(plan, part))}
    if sink is not None:
        if sink not in plan.sinks:
            raise ConfigError(f"there is no sink {sink!r}{nearest(sink, list(plan.sinks))}")
        if sink not in lakes:
            raise ConfigError(f"the sink {sink!r} writes no lake: name one of type parquet")
        return Chosen(lake, file, plan.sinks[sink])
    found = [name for name, path in lakes.items() if path == lake]
    if len(found) != 1:
        which = "several sinks write" if found else "no sink writes"
        known = ", ".join(found or lakes) or "none"
        raise ConfigError(f"{which} to {lake}: name one with --sink ({known})")
    return Chosen(lake, file, plan.sinks[found[0]])


def _split(text: str) -> tuple[str, str]:
    """Lake and file of what the user named."""
    lake, mark, rest = f"/{text}".rpartition(f"/{RESERVED}")
    file = f"{RESERVED}{rest}" if mark and rest.endswith(".dead") else ""
    return _absolute((lake[1:] or ".") if mark else text, Path.cwd()), file


def _absolute(path: str, directory: Path) -> str:
    """A lake's path in the one form in which two of them can be compared."""
    kind = storage_type(path)
    if kind == "local":
        local = Path(path.removeprefix("file://")).expanduser()
        return str((directory / local).absolute().resolve())
    return f"{kind}://{path.partition('://')[2].rstrip('/')}"


def _lake_of(plan: AgentPlan, part: PartPlan) -> str:
    """The lake of a sink; "" when it writes none."""
    built = component_of(part)
    path = getattr(built, "lake_path", None) or getattr(built, "path", None)
    return _absolute(path, plan.directory) if isinstance(path, str) else ""


def prepare(plan: AgentPlan, chosen: Chosen, clock: Clock | None = None) -> Replay:
    """Open the replay's journal, and claim the files that are to be replayed. Blocks.

    Raises ConfigError when a replay of this sink is running, and as the stores do.
    """
    clock = clock or SystemClock()
    running = _plan(plan, chosen, [])
    journal = _journal(running, clock)
    found = Replay(chosen, running, journal)
    storage = _storage(plan, chosen, clock)
    try:
        _claim(storage, found)
    finally:
        storage.close()
    found.plan = _plan(plan, chosen, found.files)
    return found


def mark_done(replayed: Replay, clock: Clock | None = None) -> None:
    """Note that all rows of the files are committed. May be asked again. Blocks."""
    storage = _storage(replayed.plan, replayed.chosen, clock or SystemClock())
    try:
        for file in replayed.files:
            storage.create(done_name(file), _encoded({"journal": replayed.journal}))
    finally:
        storage.close()


def _plan(plan: AgentPlan, chosen: Chosen, files: list[str]) -> AgentPlan:
    """The agent that replays: dead letters -> journal -> the sink, which marks nothing: its rows
    are old, and its files have an end of their own (`mark_done`).
    """
    name = chosen.sink.name
    plain = {key: value for key, value in chosen.sink.options.items() if key != "complete"}
    source, channel = f"{name}.dead_letters", f"{name}.replay"
    directory = plan.state_path() / "replay" / name
    options: dict[str, Json] = {
        "path": chosen.lake,
        "storage": cast("Json", _storage_options(chosen)),
        "files": cast("Json", files),
    }
    return replace(
        plan,
        sources={source: PartPlan("source", source, "dead_letters", options, (channel,))},
        channels={channel: PartPlan("channel", channel, "file", {"directory": str(directory)})},
        sinks={
            name: replace(chosen.sink, options=plain, channels=(channel,), placement=Placement())
        },
        guarantee="",
    )


def _storage_options(chosen: Chosen) -> Mapping[str, Json]:
    """As they were written, variables unresolved; none when the lake is at a store of another
    kind.
    """
    given = chosen.sink.options.get("storage")
    same = storage_type(str(getattr(component_of(chosen.sink), "path", ""))) == storage_type(
        chosen.lake
    )
    return given if same and isinstance(given, dict) else {}


def _storage(plan: AgentPlan, chosen: Chosen, clock: Clock) -> Storage:
    source = _plan(plan, chosen, []).sources[f"{chosen.sink.name}.dead_letters"]
    resolved: Mapping[str, object] = component_of(source).storage  # type: ignore[attr-defined]
    return storage_for(chosen.lake, resolved, Place(plan, source).context(clock))


def _journal(plan: AgentPlan, clock: Clock) -> str:
    """The id of the replay's journal, which is made if there is none."""
    [part] = plan.channels.values()
    channel = component_of(part).build(Place(plan, part).context(clock))
    try:
        channel.open()
    except JournalLocked as error:
        raise ConfigError(
            f"a replay into this sink runs already ({error.holder}): wait until it has ended"
        ) from None
    try:
        journal: str = channel.info().journal
        return journal
    finally:
        channel.close()


def _claim(storage: Storage, found: Replay) -> None:
    names = set(storage.list(f"{REPLAY}/"))
    files = [path for path in storage.list(f"{DEAD_LETTERS}/") if path.endswith(".dead")]
    if found.chosen.file:
        if found.chosen.file not in files:
            raise ConfigError(f"{found.chosen.lake} has no file {found.chosen.file}")
        files = [found.chosen.file]
    fresh = [path for path in files if claim_name(path) not in names]
    begun = [path for path in files if claim_name(path) in names and done_name(path) not in names]
    for path in begun:
        _take(storage, found, path)
    found.resumed = len(found.files)
    mine = {"journal": found.journal, "host": host_id(), "directory": _directory(found.plan)}
    for path in fresh:
        if found.resumed and _of_journal(path, found.journal):
            continue
        if storage.create(claim_name(path), _encoded(mine)):
            found.files.append(path)
        else:
            _take(storage, found, path)


def _take(storage: Storage, found: Replay, path: str) -> None:
    """A file that was claimed: ours, or another's."""
    claim = _decoded(storage.read(claim_name(path)))
    if claim.get("journal") == found.journal:
        found.files.append(path)
        return
    found.elsewhere.append(
        f"{path} is left to the replay whose journal is in {claim.get('directory')} on host "
        f"{claim.get('host')}; if that is lost for good, delete {claim_name(path)}: what it "
        "had delivered would then come twice"
    )


def _of_journal(path: str, journal: str) -> bool:
    delivery = delivery_of(path)
    return delivery is not None and parse_delivery(delivery)[0] == journal


def _directory(plan: AgentPlan) -> str:
    [part] = plan.channels.values()
    return str(part.options["directory"])


def _encoded(value: Mapping[str, str]) -> bytes:
    return json.dumps(value).encode()


def _decoded(data: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
