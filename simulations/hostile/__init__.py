"""Hostile peers: what a stranger or a member may do to a node, by name, over the production ports.

`registry.MISBEHAVIOURS` lists everything; `registry.run` commits one of them. Start there.
"""
