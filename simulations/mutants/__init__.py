"""Mutants: bugs that are planted in the program, to see whether the simulator finds them.

A simulator that finds nothing says nothing unless it is known what it would find. Each mutant is
one plausible mistake, as a replacement of text in one production module (`mutants_*.py`);
production code knows nothing of it. `planting.py` gives a fresh process the changed module,
`hunting.py` runs seed after seed there until a checker objects, and
`python -m covey.simulations.mutants` does that for all of them, holds each find against the
program as it is, and fails if one is not found.

Nothing here imports a production module before the mutant is planted.
"""
