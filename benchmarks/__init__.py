"""Benchmarks: what Covey costs, measured with real nodes, real disks and real processes.

`make bench` runs them all. Nothing is asserted: a table says what was measured beside what was
promised, and `results/latest.json` (ignored by git) keeps the numbers. Records are 300 bytes of
JSON in 6 fields; the two sides of a sync are processes of their own on loopback.
"""
