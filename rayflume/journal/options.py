"""How a journal is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from rayflume.journal.ledger import LedgerLimits
from rayflume.journal.sealing import Sealing


@dataclass(frozen=True)
class JournalOptions:
    """Sizes in bytes. `sealing`: rows are encrypted, and what is in the journal may be."""

    limits: LedgerLimits = field(default_factory=LedgerLimits)
    segment_bytes: int = 256 * 2**20
    strict: bool = False
    sealing: Sealing | None = None
