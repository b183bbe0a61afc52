"""What the owner of a channel asks of it beside interfaces.Channel: while plans change, and for
groups of sinks.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from rayflume.journal.ledger import Ledger, LedgerLimits
from rayflume.journal.store import Journal
from rayflume.threads import Condition


class Tended:
    """Of a journaled channel, whose lock and state it uses. Thread-safe."""

    _condition: Condition
    _journal: Journal
    _limits: LedgerLimits
    _closed: bool
    _woken: set[str]

    def _open_ledger(self) -> AbstractContextManager[Ledger]:
        raise NotImplementedError

    def wake(self, holder: str) -> None:
        """Let a take of `holder` that waits for rows return now."""
        with self._condition:
            self._woken.add(holder.rpartition("/")[0])
            self._condition.notify_all()

    def has_orphans(self, sink: str) -> bool:
        """Whether Prepared deliveries of a sink have no living holder."""
        with self._open_ledger() as ledger:
            return ledger.has_orphans(sink)

    def prepared_sinks(self) -> list[str]:
        """The sinks that have Prepared deliveries here."""
        with self._open_ledger() as ledger:
            return sorted({manifest.sink for manifest, _ in ledger.prepared()})

    def resize(self, limits: LedgerLimits) -> None:
        """Take other bounds from now on; rows, leases and deliveries stay as they are."""
        with self._condition:
            self._limits = limits
            if not self._closed:
                self._journal.ledger.limits = limits
            self._condition.notify_all()
