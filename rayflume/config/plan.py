"""The plan of an agent as values: frozen, picklable, and free of secrets.

Options stay as they were written, `${NAME}` unresolved: what travels to other hosts, is stored or
shown holds the name of a secret and never the secret.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rayflume.config.environment import resolve_text
from rayflume.config.monitoring import Monitoring
from rayflume.errors import ConfigError
from rayflume.own_parts import imported_from, make_importable
from rayflume.units import ByteSize

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow


class Placement(BaseModel):
    """Where a part runs and what it may use. Without any of it Ray places the part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int = Field(1, ge=1, description="How many of this part run.")
    per_node: bool = Field(False, description="One on every node, also on nodes that join later.")
    node: str | dict[str, str] | None = Field(
        None, description="Address of the one node, or labels that the node must have."
    )
    spread: bool = Field(False, description="Put the replicas on as many nodes as there are.")
    num_cpus: float | None = Field(None, ge=0, description="CPUs to reserve for each replica.")
    memory: ByteSize | None = Field(None, description="Memory to reserve for each replica.")
    resources: dict[str, float] = Field(
        default_factory=dict, description="Other Ray resources to reserve for each replica."
    )

    @model_validator(mode="after")
    def _per_node_alone(self) -> Placement:
        if self.per_node and self.replicas > 1:
            raise ValueError("`per_node` already says how many there are: remove `replicas`")
        if self.per_node and isinstance(self.node, str):
            raise ValueError("`per_node` means every node: remove `node`, or give it labels")
        if self.spread and isinstance(self.node, str):
            raise ValueError("`spread` over the one `node` is not possible: remove one of them")
        return self


_FOLDERS = {
    "interceptor": "sources", "selector": "sources", "sink_processor": "sink_groups",
}  # fmt: skip
"""Kind of a part within others -> the key of the file below which it stands."""


@dataclass(frozen=True, slots=True)
class PartPlan:
    """One part. `options`: as written, `${NAME}` unresolved, without the keys that are fields here.

    `channels`: of a source all, of a sink its one, of anything else none. `line`: in the file.
    `name` of an interceptor or selector is its path, `web.interceptors[0]`.
    """

    kind: str
    name: str
    type: str
    options: Mapping[str, Json] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    interceptors: tuple[PartPlan, ...] = ()
    selector: PartPlan | None = None
    placement: Placement = field(default_factory=Placement)
    line: int = 0

    @property
    def channel(self) -> str:
        """The one channel of a sink; "" for other parts."""
        return self.channels[0] if self.kind == "sink" and self.channels else ""

    @property
    def where(self) -> str:
        """Its place in the file: `sinks.lake`, `sources.web.interceptors[0]`."""
        return f"{_FOLDERS.get(self.kind, f'{self.kind}s')}.{self.name}"


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One sink group: its sinks in the order of the file, and the processor that leads them."""

    name: str
    sinks: tuple[str, ...]
    processor: PartPlan
    line: int = 0


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """One agent, checked. Parts are in the order of the file.

    `guarantee`: the wanted one, "" when the file asks for none. `directory`: relative paths start
    here. `file`: as the user named it, for messages.
    """

    agent: str
    sources: Mapping[str, PartPlan]
    channels: Mapping[str, PartPlan]
    sinks: Mapping[str, PartPlan]
    guarantee: str = ""
    directory: Path = field(default_factory=Path.cwd)
    state_dir: str = "state"
    orphan_after_ms: int = 60_000
    monitoring: Monitoring | None = None
    file: str = ""
    line: int = 1
    groups: Mapping[str, GroupPlan] = field(default_factory=dict)
    """Sink groups. A sink in none takes whenever it wants."""

    def parts(self) -> Iterator[PartPlan]:
        """Sources, channels, sinks: all that become actors."""
        yield from self.sources.values()
        yield from self.channels.values()
        yield from self.sinks.values()

    def check_drainable(self) -> None:
        """Raises ConfigError for channels that no sink empties, as Flume files may have them: who
        waits until all is drained would wait for ever.
        """
        emptied = {sink.channel for sink in self.sinks.values()}
        kept = ", ".join(name for name in self.channels if name not in emptied)
        if kept:
            raise ConfigError(
                f"{self.agent} can never be drained: no sink takes from {kept}; give each a sink, "
                "or run without --until-drained"
            )

    def to_json(self) -> str:
        """The plan as text, to be kept outside a process; `from_json` is the inverse."""
        value = dataclasses.asdict(self) | {"directory": str(self.directory)}
        return json.dumps(value, default=lambda options: options.model_dump(mode="json"))

    @staticmethod
    def from_json(text: str) -> AgentPlan:
        """Raises ValueError, KeyError or TypeError for any other text."""
        value = json.loads(text)
        for folder in ("sources", "channels", "sinks"):
            value[folder] = {name: _part(part) for name, part in value[folder].items()}
        groups = value.get("groups", {})  # not in plans kept by an earlier version
        value["groups"] = {name: _group(group) for name, group in groups.items()}
        monitoring = value.get("monitoring")
        value["monitoring"] = monitoring and Monitoring.model_validate(monitoring)
        return AgentPlan(**value | {"directory": Path(value["directory"])})

    def _names(self) -> list[object]:
        """Where the names of users' own classes may stand: types and options as written."""
        parts = list(self.parts())
        parts += [one for part in self.parts() for one in part.interceptors]
        parts += [part.selector for part in self.parts() if part.selector]
        return [[part.type, part.options] for part in parts]

    def make_importable(self) -> None:
        """Let Python find the users' own parts of this plan, beside the file and in `directory`."""
        make_importable(self._names(), *self._places())

    def modules(self) -> tuple[Path, ...]:
        """The files and packages there that hold them, as far as this process has imported them."""
        return imported_from(self._names(), *self._places())

    def _places(self) -> list[Path]:
        """A Flume file's `directory` is where the agent was started, and not where the file is."""
        beside = [(self.directory / Path(one)).parent for one in self.file.split("+") if one]
        return list(dict.fromkeys([self.directory, *beside]))

    def state_path(self) -> Path:
        """The local directory for small state, absolute. Raises ConfigError: missing variable."""
        return (self.directory / Path(resolve_text(self.state_dir)).expanduser()).absolute()


def _part(value: dict[str, Any]) -> PartPlan:
    selector = value["selector"]
    return PartPlan(
        **value
        | {
            "channels": tuple(value["channels"]),
            "interceptors": tuple(map(_part, value["interceptors"])),
            "selector": selector and _part(selector),
            "placement": Placement.model_validate(value["placement"]),
        }
    )


def _group(value: dict[str, Any]) -> GroupPlan:
    processor = _part(value["processor"])
    return GroupPlan(value["name"], tuple(value["sinks"]), processor, value["line"])
