"""Searching the hub for repositories with GGUF files, and choosing one of their files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from corral.errors import CorralError
from corral.models.hub.offers import Offer, offers
from corral.models.library.local import LocalModel
from corral.text import clean_line, shorten
from corral.tui.asides import aside
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    CleanInput,
    Frame,
    Heading,
    Hints,
    Modal,
    Notice,
    Top,
)
from corral.tui.screens.models import rows
from corral.tui.screens.models.entries import Entry
from corral.tui.screens.models.words import middle_cut
from corral.units import gigabytes, thousands

if TYPE_CHECKING:
    from corral.models.fit.fitter import Fitter
    from corral.models.fit.memory import Fit
    from corral.models.gguf.header import Header
    from corral.models.hub.client import Hub
    from corral.models.hub.types import Repository

SEARCH_HINT = "Other GGUF repositories on the hub. Only this search and a download use the network."


class HubModal(Modal[str | None]):
    """A list that is fetched from the hub; gives the name of a file to download."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key, f"move('{action}')", show=False)
        for key, action in (
            ("down", "cursor_down"),
            ("up", "cursor_up"),
            ("pagedown", "page_down"),
            ("pageup", "page_up"),
        )
    ]

    def action_move(self, action: str) -> None:
        """The list moves also while the field has the focus."""
        getattr(self.query_one(OptionList), f"action_{action}")()

    async def ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call of the hub in a thread; None, and a sentence on the screen, where it fails."""
        try:
            return await aside(call, *arguments)
        except CorralError as error:
            if self.is_open:
                self.query_one(Notice).fail(error)
            return None


class HubSearchScreen(HubModal):
    """A query, and the repositories that were found.

    Args:
        hub: makes the hub's client; called in a thread.
        fitter: says how a file would fit.
    """

    def __init__(self, hub: Callable[[], Hub], fitter: Fitter) -> None:
        super().__init__()
        self._hub = hub
        self._fitter = fitter
        self._found: list[Repository] = []
        self._searched = ""

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide -steady"):
            with Top():
                yield Heading("Search the hub")
                yield Static(SEARCH_HINT, markup=False, classes="hint")
                yield CleanInput(placeholder="llama 2 7b chat", classes="filter")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Notice()
                yield Hints([("Enter", "search, open", ""), ("Esc", "close", "close")])

    @work(exclusive=True, group="hub")
    async def on_mount(self) -> None:
        why = await asyncio.to_thread(lambda: self._hub().offline)
        if why and self.is_open:
            self.query_one(Notice).say(f"corral is offline, so nothing can be searched: {why}")

    @on(Input.Submitted)
    async def _on_submitted(self, event: Input.Submitted) -> None:
        query = event.value.strip()
        if query and query != self._searched:
            self._search(query)
        elif self._found:
            self._open()

    @work(exclusive=True, group="hub")
    async def _search(self, query: str) -> None:
        self._found, self._searched = [], query
        options = self.query_one(OptionList)
        options.clear_options()
        self.query_one(Notice).say("")
        self.query_one(Heading).tell("asking the hub …")
        found = await self.ask(lambda: self._hub().search(query))
        if not self.is_open:
            return
        self.query_one(Heading).tell("")
        if found is None:
            self._searched = ""
            return
        self._found = found
        width = max(20, options.scrollable_content_region.width - 2)
        options.add_options(Option(_repository(one, width)) for one in found)
        options.highlighted = 0 if found else None
        self.query_one(Notice).say("" if found else "The hub knows no GGUF repository like that.")
        self.query_one(Heading).tell(f"{len(found)} found" if found else "")

    @on(OptionList.OptionSelected)
    def _on_selected(self) -> None:
        self._open()

    @work(exclusive=True, group="open")
    async def _open(self) -> None:
        number = self.query_one(OptionList).highlighted
        if number is None or number >= len(self._found):
            return
        screen = RepositoryScreen(self._hub, self._fitter, self._found[number])
        if (name := await self.app.push_screen_wait(screen)) is not None:
            self.dismiss(name)


class RepositoryScreen(HubModal):
    """The GGUF files of one repository: size, guessed quantization, and how each would fit."""

    AUTO_FOCUS = "OptionList"

    def __init__(self, hub: Callable[[], Hub], fitter: Fitter, repository: Repository) -> None:
        super().__init__()
        self._hub = hub
        self._fitter = fitter
        self._repository = repository
        self._choices: list[Choice] = []

    def compose(self) -> ComposeResult:
        one = self._repository
        licence = f"licence {shorten(one.licence, 40)}" if one.licence else "no licence is named"
        with Frame(classes="-wide -steady"):
            with Top():
                yield Heading(one.name, "asking the hub …")
                gated = " · gated: accept its terms on the hub, set HF_TOKEN" if one.gated else ""
                yield Static(licence + gated, markup=False, classes="hint")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Notice()
                yield Hints([("Enter", "download", "take"), ("Esc", "back", "close")])

    def on_mount(self) -> None:
        self._list()

    @work(exclusive=True, group="hub")
    async def _list(self) -> None:
        listing = await self.ask(lambda: self._hub().files(self._repository.name))
        if not self.is_open:
            return
        self.query_one(Heading).tell("")
        if listing is None:
            return
        self._choices = [Choice(offer, self._repository) for offer in offers(listing.files)]
        if not self._choices:
            self.query_one(Notice).say("There is no GGUF model in this repository.")
            return
        self._show()
        self.query_one(OptionList).highlighted = 0
        self.query_one(Heading).tell("reading a header …")
        await self._fit()
        if not self.is_open:
            return
        count = len(self._choices)
        self.query_one(Heading).tell("1 file" if count == 1 else f"{count} files")

    async def _fit(self) -> None:
        """All files of a repository are one model: one header tells how each would fit."""
        whole = [one.offer.files[0][0] for one in self._choices if one.is_one_file]
        header = await self.ask(lambda: self._hub().header(whole[0])) if whole else None
        if header is None:
            return
        fits = await self.ask(lambda: [self._fit_of(one, header) for one in self._choices])
        if fits is not None and self.is_open:
            self._choices = [
                replace(one, fit=fit) for one, fit in zip(self._choices, fits, strict=True)
            ]
            self._show()

    def _fit_of(self, one: Choice, header: Header) -> Fit:
        """How a file would fit that differs from the one of ``header`` only in its weights."""
        size = one.offer.bytes
        weights = max(1, size - (header.bytes - header.tensor_bytes))
        own = replace(header, bytes=size, tensor_bytes=weights, quant=one.offer.quant)
        return self._fitter.fit(one.model, own)

    def _show(self) -> None:
        options = self.query_one(OptionList)
        highlighted = options.highlighted
        width = max(20, options.scrollable_content_region.width - 2)
        options.clear_options()
        options.add_options(Option(one.row(width)) for one in self._choices)
        options.highlighted = highlighted

    @on(OptionList.OptionSelected)
    def action_take(self) -> None:
        number = self.query_one(OptionList).highlighted
        if number is not None and number < len(self._choices):
            self.dismiss(self._choices[number].model.name)


@dataclass(frozen=True, slots=True)
class Choice:
    """One model of a repository that can be downloaded."""

    offer: Offer
    repository: Repository
    fit: Fit | None = None

    @property
    def is_one_file(self) -> bool:
        return len(self.offer.files) == len(self.offer.files[0]) == 1

    @property
    def model(self) -> LocalModel:
        """It as everything else sees models; its name is one that can be downloaded."""
        return LocalModel(
            name=f"{self.repository.name}/{self.offer.file}",
            title=self.offer.file,
            family=None,
            size="",
            kind="unknown",
            quant=self.offer.quant,
            path=None,
            bytes=self.offer.bytes,
            sha256=None,
            state="available",
            source="catalogue",
            licence=self.repository.licence,
            format=None,
            format_source=None,
            default_system="",
            sampling={},
        )

    def row(self, width: int) -> Content:
        brief = width < 70
        files = sum(len(joined) for joined in self.offer.files)
        parts = f", {files} parts" if files > 1 else ""
        sign, style, words = rows.fits(Entry(self.model, fit=self.fit), brief=brief)
        room = max(10, width - 10 - 10 - (15 if brief else 21))
        name = middle_cut(shorten(self.offer.file, 200), room - len(parts)) + parts
        return Content.assemble(
            Content(name).truncate(room, ellipsis=True, pad=True),
            ("  " + shorten(self.offer.quant or "–", 8).ljust(8), MUTED),
            gigabytes(self.offer.bytes, 2).rjust(10),
            "  ",
            (sign, style),
            " ",
            (words, MUTED if sign == "✗" else ""),
        )


def _repository(one: Repository, width: int) -> Content:
    facts = f"↓ {_count(one.downloads)}".rjust(10) + f"  ♥ {_count(one.likes)}".ljust(10)
    facts += clean_line(one.updated)[:10].rjust(12)
    name = Content(shorten(one.name, 200))
    if one.gated:
        name = name + Content.styled("  gated", "$warning")
    name = name.truncate(max(10, width - len(facts)), ellipsis=True, pad=True)
    return Content.assemble(name, (facts, MUTED))


def _count(number: int) -> str:
    """``912``, ``48 k``, ``1.2 M``."""
    if number >= 1e6:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 10_000 else thousands(number)
