"""The first and the last line of the screen: what answers and how fast, and the keys that help."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from corral.text import shorten
from corral.tui import keys, wording
from corral.tui.keys import Key, Where
from corral.tui.widgets.line import Line, Part

if TYPE_CHECKING:
    from corral.engine.protocol import Loaded

State = Literal["none", "off", "ready", "busy"]
"""Of the model: there is none, it is not in memory, it is, it is at work."""

_SIGNS: dict[State, tuple[str, str]] = {
    "none": ("○", "$text-error"),
    "off": ("○", "$quiet"),
    "ready": ("●", "$success"),
    "busy": ("●", "$primary"),
}

_LOCAL = {
    "open": "open",
    "delete": "delete",
    "undo_delete": "undo",
    "file": "folder",
    "archive": "archive",
    "copy_message": "copy",
    "copy_message_code": "code",
    "edit": "edit",
    "pin_message": "pin",
    "sibling(-1)": "",
    "sibling(1)": "branch",
}
"""Words for the keys that are only worth a place in the footer where they work."""


class Header(Line):
    """▲ corral, the conversation, and the model with its place and speed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(separator=" ", id=id)

    def tell(
        self,
        title: str,
        model: str,
        *,
        state: State,
        place: str = "",
        speed: float = 0.0,
        downloading: str = "",
        adapters: str = "",
    ) -> None:
        """Show these facts; the model and its place come cleaned."""
        left = [Part("▲", "bold $primary"), Part("corral", "bold $primary", 3)]
        if title := shorten(title, 200):
            left.append(Part(f" {title}"))
        sign, style = _SIGNS[state]
        right = [Part(downloading, "$quiet", 6, "screen.models")] if downloading else []
        right += [Part(sign, style), Part(model, click="screen.models")]
        if adapters:
            right.append(Part(adapters, "$quiet", 4, "screen.adapters"))
        if place:
            right.append(Part(f"· {place}", "$quiet", 5))
        if speed:
            right.append(Part(f"· {wording.speed(speed)}", "$quiet", 4))
        self.show(left, right)


def place_of(loaded: Loaded | None) -> str:
    """Where a model computes: ``CPU`` or ``GPU 33/33 layers``."""
    if loaded is None:
        return ""
    if not loaded.gpu_layers:
        return "CPU"
    device = "Metal" if sys.platform == "darwin" else "GPU"
    return f"{device} {loaded.gpu_layers}/{loaded.layers} layers"


class Keys(Line):
    """The keys that help where the focus is; each can be clicked."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(separator="   ", id=id)

    def tell(self, where: Where, *, running: bool) -> None:
        """Show the keys of one place; Esc only while there is something to stop."""
        local = keys.group(where) if where != "anywhere" else []
        general = [key for key in keys.group("anywhere") if key.footer]
        stop = [key for key in general if key.action == "stop" and running]
        last = [key for key in general if key.action == "command_palette"]
        general = [key for key in general if key.action not in ("stop", "command_palette")]
        parts = [_part(key, rank) for rank, key in enumerate([*stop, *local, *general], 1)]
        self.show([part for part in parts if part.text], [_part(key, 3) for key in last])


def _part(key: Key, rank: int) -> Part:
    word = key.footer or _LOCAL.get(key.action, "")
    sign = "[ ]" if key.action == "sibling(1)" else key.short
    owner = "app" if key.action == "command_palette" else "screen"
    return Part(word, "$quiet", rank, f"{owner}.{key.action}", sign)
