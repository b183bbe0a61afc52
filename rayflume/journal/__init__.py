"""The write-ahead log of a channel, and the transaction manager of every delivery.

segment    bytes of one record: encode, decode, checksums; no files
intervals  sets of row positions
keys       idempotency keys in generations
streams    where each stream stands, by name and by the beginning of a name
holders    who has which delivery, and who was silent for long
prepared   deliveries whose files are staged
ledger     streams, row ranges, leases, deliveries: every decision, pure
rows       where each row lies: position -> segment, offset, length
pruning    which segments may go
scan       reading all segments of a disk
recovery   what was read from disk -> what is kept, cut, set aside; pure
disk       the byte seam: a local directory, or memory
store      the journal: the above over a disk, with group commit
reader     a sink's way to rows that lie on its own host
"""
