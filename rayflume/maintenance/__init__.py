"""Looking after a plain lake: merging small files of closed partitions, and proof of what arrived.

    footers     what the ends of files say, read in parallel
    plan        which files to merge; pure
    checksum    one number for any set of rows, in whatever order and files
    merge       several files into one, checked
    compact     the protocol that puts the one in the place of the others
    inspect     ranges of rows, gaps and overlaps; pure

It knows no agent, no sink and no journal: all it goes by lies in the lake.
"""
