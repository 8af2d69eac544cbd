"""How fast durable engines carry out the same task graphs: Interlock, its peers, and the bare journal as the floor.

    cd bench && ../.venv/bin/python -m engine [--engines floor-sqlite,dbos-sqlite] [--workloads chain] [--scale 0.1]

`workloads.py` says what is carried out, as data that every engine shares; `adapters/` holds a file for each engine with the
choices that were made for it; `one.py` carries out one workload on one engine, in a process of its own and for a peer in a
virtual environment of its own; `__main__.py` goes through them all.
"""
