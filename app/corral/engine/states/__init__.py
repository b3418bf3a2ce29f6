"""Evaluated prompts on disk: the KV cache of a conversation, in files that are never trusted.

``<folder>/<model key>/<conversation>/<start>-<end>-<hash>.kv`` holds the positions from ``start``
up to ``end`` of one sequence. Nothing here is needed for a right answer: whatever is damaged,
foreign or missing is evaluated again. The worker reads and writes
(:mod:`corral.engine.llama.states`), the screen lists and clears (:mod:`.shelf`).
"""
