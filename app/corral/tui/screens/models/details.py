"""Everything that is known about one model: its file, its licence, its header, its template."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from corral.errors import CorralError
from corral.text import clean, shorten
from corral.tui import links
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Notice, Top
from corral.tui.screens.models.entries import Entry
from corral.tui.screens.models.words import format_sentence, shown_path
from corral.units import gigabytes, thousands

if TYPE_CHECKING:
    from corral.models.gguf.header import Header
    from corral.models.library.library import Library
    from corral.models.library.local import LocalModel

_LABEL = 16
_LONGEST = 300
"""Characters of one value; templates have their own place below."""

_KINDS = {
    "chat": "tuned to chat",
    "base": "continues a text, not tuned to chat",
    "unknown": "it is not known whether it can chat",
}

_SOURCES = {
    "starter": "with a Python package",
    "import": "imported",
    "adopted": "adopted from another program, where it lies",
    "download": "downloaded by corral",
}

Line = tuple[str, str]


class DetailsScreen(Modal[None]):
    """One page that scrolls; the header of the file is read in a thread."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "open_card", show=False)]

    def __init__(self, library: Library, entry: Entry) -> None:
        super().__init__()
        self._library = library
        self._entry = entry
        self._card = _card(entry.model)
        self._header: Header | None = None

    def compose(self) -> ComposeResult:
        model = self._entry.model
        with Frame(classes="-tall"):
            with Top():
                yield Heading(self._entry.title, shorten(model.quant, 20))
            with VerticalScroll():
                yield Static("", markup=False, classes="text")
            with Bottom():
                yield Notice()
                hints = [("o", "open the card", "open_card")] if self._card else []
                yield Hints([*hints, ("↑↓ PgUp PgDn", "scroll", ""), ("Esc", "close", "close")])

    def on_mount(self) -> None:
        if self._entry.model.state == "installed":
            self._read()

    @work(exclusive=True)
    async def _read(self) -> None:
        try:
            self._header = await asyncio.to_thread(self._library.header, self._entry.model)
        except CorralError as error:
            if self.is_open:
                self.query_one(Notice).fail(error)
            return
        self._lay_out()

    @on(Resize)
    def _on_resized(self) -> None:
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        if not self.is_open:
            return
        text = self.query_one(".text", Static)
        text.update(self._text(max(24, text.size.width)))

    def _text(self, width: int) -> Content:
        entry, model, header = self._entry, self._entry.model, self._header
        licence = self._library.catalog.licence(model.licence or "")
        sections = {
            "": [*_about(entry), *_licence(model, licence), ("Card", self._card)],
            "The file": _file(model),
            "How it fits": _fit(entry),
        }
        if header is not None:
            sections["What the file says"] = _header(header)
        elif model.family is not None:
            sections["What the catalogue says"] = _family(model)
        parts = [_section(heading, lines, width) for heading, lines in sections.items()]
        if header is not None:
            parts.append(_template(header))
        return Content("\n\n").join([part for part in parts if part])

    @work
    async def action_open_card(self) -> None:
        from corral.tui.screens.dialogs import ConfirmDialog

        target = links.target(self._card)
        if target is None:
            return
        text = f"{target.url}\n\nThe browser opens it; corral itself fetches nothing."
        if await self.app.push_screen_wait(ConfirmDialog("Open the card?", text, "open")):
            self.app.open_url(target.url)


def _card(model: LocalModel) -> str:
    if model.family and model.family.card:
        return model.family.card
    return f"https://huggingface.co/{model.repository}" if model.repository else ""


def _about(entry: Entry) -> list[Line]:
    model = entry.model
    return [
        ("Name", model.name),
        ("Size", model.size),
        ("Kind", _KINDS.get(model.kind, "")),
        ("Prompt format", format_sentence(model).removeprefix("Prompt format: ")),
        ("System prompt", model.default_system),
        ("Sampling", ", ".join(f"{key} {value}" for key, value in model.sampling.items())),
    ]


def _licence(model: LocalModel, licence: object) -> list[Line]:
    title = getattr(licence, "title", "") or model.licence or ""
    return [("Licence", title), ("", getattr(licence, "url", ""))]


def _file(model: LocalModel) -> list[Line]:
    checked = time.strftime("%d %B %Y, %H:%M", time.localtime(model.verified or 0))
    return [
        ("Where", shown_path(model.path) if model.path else "not on this machine"),
        ("File", model.file),
        ("Size", f"{thousands(model.bytes)} bytes, {gigabytes(model.bytes, 2)}"),
        ("sha256", model.sha256 or "not known yet: v works it out"),
        ("Verified", checked if model.verified else ""),
        ("Repository", model.repository or ""),
        ("Revision", model.revision or ""),
        ("Came", _SOURCES.get(model.source, "")),
    ]


def _fit(entry: Entry) -> list[Line]:
    fit = entry.fit
    if fit is None:
        return []
    memory = fit.bytes
    devices = [
        (shorten(name, 14), f"{gigabytes(used)} of {gigabytes(fit.free_bytes.get(name, 0))} free")
        for name, used in fit.device_bytes.items()
    ]
    first = fit.first_token_ms
    return [
        ("Verdict", fit.reason),
        ("Memory", f"{gigabytes(memory.total)} with {thousands(fit.n_ctx)} tokens of context"),
        ("", f"weights {gigabytes(memory.weights)}, KV cache {gigabytes(memory.kv)} "
         f"({fit.kv_type}), buffers {gigabytes(memory.compute)}"),
        *devices,
        ("First token", f"after {first[0] / 1e3:.1f}–{first[1] / 1e3:.1f} s" if first else ""),
    ]  # fmt: skip


def _header(header: Header) -> list[Line]:
    values = [(key, str(value)) for key, value in header.metadata.items()]
    return [
        ("GGUF version", str(header.version)),
        ("Parameters", thousands(header.parameters)),
        ("Vocabulary", thousands(header.vocab_size)),
        *values,
    ]


def _family(model: LocalModel) -> list[Line]:
    family = model.family
    assert family is not None
    names = ("n_layer", "n_embd", "n_head", "n_head_kv", "n_ff", "context")
    return [(name, thousands(getattr(family, name))) for name in names]


def _template(header: Header) -> Content:
    text = header.chat_template or "The file has none."
    heading = Content.styled("Chat template", "bold")
    return Content("\n").join([heading, Content.styled(clean(text), MUTED)])


def _section(heading: str, lines: Iterable[Line], width: int) -> Content:
    """A heading and what stands under it; lines without a value are left out."""
    rows = [Content.styled(heading, "bold")] if heading else []
    for label, value in lines:
        if value:
            rows.append(_line(shorten(label, 60), shorten(str(value), _LONGEST), width))
    return Content("\n").join(rows if len(rows) > bool(heading) else [])


def _line(label: str, value: str, width: int) -> Content:
    """A value beside its label, all of its lines in one column."""
    beside = wrap(value, width - _LABEL, break_on_hyphens=False) or [""]
    if len(label) >= _LABEL:
        beside.insert(0, "")
    indent = "\n" + " " * _LABEL
    return Content.assemble((label.ljust(_LABEL), MUTED), indent.join(beside))
