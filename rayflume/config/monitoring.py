"""The options of `monitoring:`, where an agent's metrics are served over HTTP."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from rayflume.addresses import is_loopback, listen
from rayflume.component import option
from rayflume.errors import OptionError


class Monitoring(BaseModel):
    """`GET /metrics` is Flume's JSON, `/metrics/prometheus` the text of Prometheus. Read only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = option(
        "TCP port to listen on, in the process that watches the agent. 0 takes any free port; the"
        " log says which.",
        default=41414,
        ge=0,
        le=65535,
    )
    bind: str = option("Address to listen on.", default="127.0.0.1")
    dangerously_allow_anonymous: bool = option(
        "Listen on an address other than loopback: whoever reaches the port can read names of"
        " parts and their counts.",
        default=False,
    )

    @model_validator(mode="after")
    def _loopback(self) -> Self:
        if not (is_loopback(self.bind) or self.dangerously_allow_anonymous):
            raise ValueError(
                f"`bind: {self.bind}` would show the metrics to everybody who reaches it: use"
                " 127.0.0.1, or add dangerously_allow_anonymous: true"
            )
        return self

    def problems(self) -> list[str]:
        """Why it cannot be listened on here, a sentence each."""
        try:
            listen(self.bind, self.port).close()
        except OptionError as error:
            return [error.message]
        return []
