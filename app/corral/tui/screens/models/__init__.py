"""The models screen and what opens over it."""
