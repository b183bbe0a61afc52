"""Rows at rest, encrypted: the body of a Put record under AES-GCM (NIST SP 800-38D).

A sealed record has version 2, the name of its key in its meta, and as its body

    12 bytes nonce (random) | ciphertext, as long as the Arrow IPC stream | 16 bytes tag

The tag covers the meta as well (which rows of which streams they are), so that a body cannot be
moved to another record. Meta itself stays readable: names of streams, which are paths of files,
positions, and what deliveries wrote. The checksums of a record are those of what is on the disk;
whether a journal is whole is seen without the key.

Keys never leave the process of the channel: its sinks get rows from it, unsealed, by calls.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from isal.isal_zlib import crc32

from rayflume.errors import ChannelClosed
from rayflume.journal.segment import KEY, Kind, Meta, body_of, decode_head, encode

KEY_BYTES = (16, 24, 32)
_NONCE_BYTES, _TAG_BYTES = 12, 16


class Sealing:
    """Seals what is put with the active key, opens what any of the keys sealed. Thread-safe."""

    def __init__(self, active: str, keys: Mapping[str, bytes]) -> None:
        """`keys`: name -> 16, 24 or 32 bytes; `active` is the name of one of them."""
        self._active = active
        self._keys = {name: AESGCM(key) for name, key in keys.items()}

    def seal(self, payload: pa.Buffer, meta: Meta) -> tuple[pa.Buffer, Meta]:
        """Body and meta of the sealed record. `meta` must say all else it will say."""
        nonce = os.urandom(_NONCE_BYTES)
        body = self._keys[self._active].encrypt(nonce, _bytes_of(payload), _bound(meta))
        return pa.py_buffer(nonce + body), {**meta, KEY: self._active}

    def opened(self, record: pa.Buffer) -> pa.Buffer:
        """The whole record as if it had not been sealed, of the same length: zeros stand behind the
        rows. One that is not sealed, or damaged, is given back as it is.

        Raises ChannelClosed when the key is missing or another: nothing is wrong with the rows.
        """
        head = decode_head(record)
        if head is None or head.kind is not Kind.PUT or KEY not in head.meta:
            return record
        sealed = body_of(head, record)
        if sealed is None:
            return record
        meta = {name: value for name, value in head.meta.items() if name != KEY}
        body = self._plain(str(head.meta[KEY]), _bytes_of(sealed), meta)
        # The meta is shorter by the key, so its body may begin earlier.
        front = encode(replace(head, meta=meta))[0]
        spare = _NONCE_BYTES + _TAG_BYTES + head.body_offset - len(front)
        whole = pa.py_buffer(body + bytes(spare))
        plain = encode(replace(head, meta=meta, body_crc=crc32(whole)), whole)
        return pa.py_buffer(b"".join(map(memoryview, plain)))

    def _plain(self, key: str, sealed: memoryview, meta: Meta) -> bytes:
        if key not in self._keys:
            raise ChannelClosed(
                f"rows are encrypted with the key {key!r}, which is not in `key_files`: add it"
            )
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._keys[key].decrypt(nonce, body, _bound(meta))
        except InvalidTag:
            raise ChannelClosed(
                f"rows cannot be decrypted with the key {key!r}: its file holds another key than "
                "the one they were written with"
            ) from None


def _bound(meta: Meta) -> bytes:
    """What the tag covers beside the rows. The same before and after a journey through JSON."""
    return json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()


def _bytes_of(buffer: pa.Buffer) -> memoryview:
    """Arrow shows its buffers as signed bytes, which OpenSSL's binding does not take."""
    return memoryview(buffer).cast("B")
