"""Engine packs: llama.cpp as a folder of its own, checked, tried out and chosen at the start.

The binding stays; which native library it loads is told to a worker in its environment. A pack is
tried in a process of its own first, so that one for another processor or without its driver costs
nothing but a sentence about it.
"""
