"""A screen that shows a key sooner."""

from __future__ import annotations

from functools import cached_property

from textual import constants
from textual.screen import Screen
from textual.timer import Timer

PERIOD = 0.5 / constants.MAX_FPS
"""Seconds between two looks at what is to be painted.

After a paint that took long, Textual's timer waits up to two of its periods before the next one:
with its own, a sixtieth of a second, a key that was pressed meanwhile is shown up to 33 ms late."""


class QuickScreen(Screen[None]):
    """Paints as soon as Textual's own screen, and sooner after a paint that took long."""

    @cached_property
    def _update_timer(self) -> Timer:
        return self.set_interval(PERIOD, self._on_timer_update, name="screen_update", pause=True)
