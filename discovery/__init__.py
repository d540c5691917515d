"""Where services come from: one module per source, each of which yields events.

`source` says what a source is; `guard` holds a sudden mass removal; `lastgood` keeps what a source last said on
disk; `supervisor` runs them all, so that one bad source never ends the program.
"""
