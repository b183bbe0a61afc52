"""The nouns of rayflume as protocols, in the order in which data flows.

    Source -> Interceptor -> Selector -> Channel -> Sink (Format, Storage) -> lake

A module for each kind of part; all names are imported from here. Clauses are numbered; the contract
suites in `tests/contract/` name them (`test_c4_...`) and run them over every implementation.
"Blocks" means: may wait for a disk, a network or another part. All methods may raise
`rayflume.errors`; no other exception may leave a part but for a bug.
"""

from rayflume.interfaces.channel import (
    Channel,
    ChannelInfo,
    ChannelState,
    PutOutcome,
    PutReply,
    PutRequest,
    RowRef,
    Taken,
)
from rayflume.interfaces.format import Contract, Decoded, Format
from rayflume.interfaces.manifest import Manifest, StagedFile
from rayflume.interfaces.routing import Interceptor, Selector, Share
from rayflume.interfaces.sink import DeliveryLimits, DeliveryWriter, Sink
from rayflume.interfaces.source import Ingest, Ingested, PollableSource, ServerSource
from rayflume.interfaces.storage import LakeReader, Published, StagedWriter, Storage
from rayflume.interfaces.values import Json, RowRange, StreamPosition

__all__ = [
    "Channel",
    "ChannelInfo",
    "ChannelState",
    "Contract",
    "Decoded",
    "DeliveryLimits",
    "DeliveryWriter",
    "Format",
    "Ingest",
    "Ingested",
    "Interceptor",
    "Json",
    "LakeReader",
    "Manifest",
    "PollableSource",
    "Published",
    "PutOutcome",
    "PutReply",
    "PutRequest",
    "RowRange",
    "RowRef",
    "Selector",
    "ServerSource",
    "Share",
    "Sink",
    "StagedFile",
    "StagedWriter",
    "Storage",
    "StreamPosition",
    "Taken",
]
