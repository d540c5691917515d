"""The language users write: YAML documents in, frozen values of the domain out.

`parse(file, data)` reads one file; `DocumentSet.with_files(...)` puts files together and decides what is in force;
`effects(old, new)` says what a change does. Nothing here does I/O, reads a clock or logs.
"""
