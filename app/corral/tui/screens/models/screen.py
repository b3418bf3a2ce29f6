"""The models of this machine and of the catalogue on one screen, live while downloads run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.message import Message
from textual.widgets import Input, Static

from corral.errors import CorralError
from corral.tui import keys
from corral.tui.screens.modal import CleanInput, Notice
from corral.tui.screens.models import about, rows
from corral.tui.screens.models.bars import Keys, KeysScreen, MachineLine
from corral.tui.screens.models.deeds import ModelDeeds
from corral.tui.screens.models.entries import SORTS, Entry, Sort, changed, choose, gather
from corral.tui.screens.models.table import Table

if TYPE_CHECKING:
    from corral.models.downloads.downloads import Downloads
    from corral.models.fit.fitter import Fitter
    from corral.models.fit.machine import Machine
    from corral.models.fit.memory import Fit
    from corral.models.fit.recommend import Recommendation
    from corral.models.hub.client import Hub
    from corral.models.library.library import Library
    from corral.models.library.local import LocalModel
    from corral.store.downloads import Download

TICK = 0.5
"""Seconds between two looks at what is going on."""
PATIENCE = 0.3
"""Seconds to wait for the list before it is said that it is looked for."""
BATCH = 16
"""Models whose fit is worked out before the rows that show it are drawn."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the machine, taken in a thread."""

    models: list[LocalModel]
    downloads: list[Download]
    loaded: list[str]
    machine: Machine
    best: Recommendation | None
    free: int
    """Bytes free where downloads go."""


class ColumnHeadings(Static):
    """The names of the columns."""

    def __init__(self) -> None:
        super().__init__("", markup=False)


class ModelsScreen(ModelDeeds):
    """Gives the model that was chosen; it is here, and its prompt format is known.

    Args:
        hub: makes the hub's client; called in a thread, and only when something is searched.
        current: name or path of the model in use; its row is highlighted at first.
        machine: what the machine has at the moment; called in a thread.
        loaded: names of the models in memory; called in a thread.
        filter: words that the rows are filtered by at first.
    """

    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key.keys, key.action, key.text, show=False)
            for key in keys.group("models")
            if key.action not in ("", "choose", "close")
        ),
        Binding("f1,question_mark", "help", show=False),
        # The table moves also while the filter has the focus.
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
    ]

    def __init__(
        self,
        library: Library,
        downloads: Downloads,
        fitter: Fitter,
        hub: Callable[[], Hub],
        *,
        current: str | None,
        machine: Callable[[], Machine],
        loaded: Callable[[], list[str]],
        filter: str = "",  # noqa: A002 - the word that people know it by
    ) -> None:
        super().__init__(library, downloads, hub, fitter)
        self._current = current
        self._machine = machine
        self._loaded = loaded
        self._words = filter
        self._entries: dict[str, Entry] = {}
        self._rows: list[str] = []
        """Keys of the entries that are shown, in their order."""
        self._seen: Seen | None = None
        self._asked: set[str] = set()
        """Keys of the entries whose fit was worked out since then."""
        self._live: dict[int, Download] = {}
        self._every = False
        self._sort: Sort = "name"
        self._ticking = False

    def compose(self) -> ComposeResult:
        yield MachineLine()
        with Vertical(id="models"):
            yield ColumnHeadings()
            yield Table(self._line)
            yield Static("", markup=False, classes="empty")
        yield Static("", markup=False, classes="about")
        yield Notice()
        yield CleanInput(self._words, placeholder="Type to filter", classes="filter")
        yield Keys()

    def on_mount(self) -> None:
        self.set_class(bool(self._words), "-filtering")
        self.set_interval(TICK, self._tick)
        self.set_timer(PATIENCE, self._look_busy)
        self.reload(self._current)

    def _look_busy(self) -> None:
        if self._seen is None:
            self.query_one(".empty", Static).update("Looking …")
            self.add_class("-none")

    # --- what is shown ----------------------------------------------------------------------------

    @work(exclusive=True, group="list")
    async def reload(self, select: str | None = None) -> None:
        """Look at everything again.

        Args:
            select: name or path of the model to highlight; else the one that is.
        """
        seen = await self.ask(self._look)
        if seen is None or not self.is_open:
            self.remove_class("-none")
            return
        first, self._seen = self._seen is None, seen
        self._live = {one.id: one for one in seen.downloads}
        self._take(seen)
        self._asked.clear()
        if first and not select and seen.best:
            select = seen.best.name
        self._show(select)
        self.query_one(MachineLine).tell(seen.machine, seen.free)

    def _look(self) -> Seen:
        from corral.models.fit.recommend import recommend

        machine = self._machine()
        models = self.library.models(all=True)
        best = recommend(self.library.catalog, self.fitter, machine)
        return Seen(
            models, self.downloads.all(), self._loaded(), machine, best, self.free_on_disk()
        )

    def _take(self, seen: Seen) -> None:
        catalog, before = self.library.catalog, self._entries
        entries = gather(
            seen.models,
            seen.downloads,
            families=catalog.families,
            loaded=seen.loaded,
            best=seen.best.name if seen.best else None,
        )
        self._entries = {
            entry.key: replace(entry, fit=before[entry.key].fit) if entry.key in before else entry
            for entry in entries
        }

    @work(exclusive=True, group="fit")
    async def _work_out_fits(self) -> None:
        """Of the rows that are shown and were not asked about since the last look."""
        wanted = [key for key in self._rows if key not in self._asked]
        for start in range(0, len(wanted), BATCH):
            batch = [key for key in wanted[start : start + BATCH] if key in self._entries]
            models = [(key, self._entries[key].model) for key in batch]
            assert self._seen is not None  # there are rows
            fits = await asyncio.to_thread(self._fits, models, self._seen.machine)
            if not self.is_open:
                return
            self._asked.update(batch)
            for key, fit in fits:
                if key in self._entries:
                    self._put(replace(self._entries[key], fit=fit))
        if wanted and self._sort in ("fits", "speed"):
            self._show()

    def _fits(
        self, models: Iterable[tuple[str, LocalModel]], machine: Machine
    ) -> list[tuple[str, Fit]]:
        """How they fit, where that can be said; runs in a thread."""
        found = []
        for key, model in models:
            try:
                here = model.state == "installed" and not model.family
                header = self.library.header(model) if here else None
                if header is not None or model.family is not None:
                    found.append((key, self.fitter.fit(model, header, machine=machine)))
            except CorralError:
                continue  # Choosing it tells why it cannot be used.
        return found

    def _put(self, entry: Entry) -> None:
        """Show what changed about one entry, and nothing else."""
        if self._entries.get(entry.key) == entry:
            return
        self._entries[entry.key] = entry
        if entry.key in self._rows:
            number = self._rows.index(entry.key)
            table = self.query_one(Table)
            table.refresh_row(number)
            if number == table.highlighted:
                self._tell()

    def _show(self, select: str | None = None) -> None:
        """Choose the rows anew; ``select`` or what was highlighted stays so."""
        table = self.query_one(Table)
        at = table.highlighted
        before = self._rows[at] if 0 <= at < len(self._rows) else ""
        chosen = choose(
            list(self._entries.values()), words=self._words, every=self._every, sort=self._sort
        )
        self._rows = [entry.key for entry in chosen]
        wanted = [n for n, entry in enumerate(chosen) if _is(entry.model, select)]
        wanted += [n for n, entry in enumerate(chosen) if entry.key == before]
        # A model that has arrived has the same name, and now a path.
        name = before.partition("\n")[0]
        wanted += [n for n, entry in enumerate(chosen) if entry.model.name == name]
        table.show(len(chosen), wanted[0] if wanted else at if before else 0)
        self.set_class(not chosen and self._seen is not None, "-none")
        none = "Nothing matches. Esc shows the list again, h searches the hub."
        self.query_one(".empty", Static).update(none if self._words else "There is no model yet.")
        self._head()
        self._tell()
        # When the rows are painted: working them out takes a while for the whole catalogue.
        self.call_after_refresh(self._work_out_fits)

    def _line(self, number: int, width: int) -> Content:
        entry = self._entries[self._rows[number]]
        # The topmost row in sight bears the name, too: nobody has to scroll for it.
        first = number == self.query_one(Table).scroll_offset.y
        first = first or self._entries[self._rows[number - 1]].title != entry.title
        return rows.row(entry, width, first=first)

    @on(Table.Resized)
    def _head(self, event: Message | None = None) -> None:
        table = self.query_one(Table)
        self.query_one(ColumnHeadings).update(rows.heading(table.width, self._sort))
        if event is not None:
            self._tell()

    @on(DescendantFocus)
    def _on_focused(self) -> None:
        self._tell()

    @on(Table.Highlighted)
    def _on_highlighted(self) -> None:
        entry = self.selected
        if entry is None or entry.key != self._told:
            self.query_one(Notice).say("")
        self._told = entry.key if entry else ""
        self._tell()

    def _tell(self) -> None:
        """Bring the lines below the table up to date."""
        entry, part = self.selected, self.query_one(".about", Static)
        machine = self._seen.machine.title if self._seen else ""
        lines = about.lines(entry, machine, part.content_size.width) if entry else Content("")
        part.update(lines)
        if self.query_one(".filter").has_focus:
            self.query_one(Keys).tell_filter()
            return
        more = "" if self._words else "fewer" if self._every else f"all {len(self._entries)}"
        self.query_one(Keys).tell(entry, len(self._live), more=more)

    @property
    def selected(self) -> Entry | None:
        number = self.query_one(Table).highlighted
        return self._entries.get(self._rows[number]) if 0 <= number < len(self._rows) else None

    @property
    def entries(self) -> Sequence[Entry]:
        """What is shown, row by row."""
        return [self._entries[key] for key in self._rows]

    # --- what goes on -----------------------------------------------------------------------------

    async def _tick(self) -> None:
        """While something runs, bring the rows it changes up to date."""
        self.show_verifying()
        going = any(one.state in ("running", "queued") for one in self._live.values())
        if going and not self._ticking:
            self._ticking = True
            self._follow()

    @work(exclusive=True, group="live")
    async def _follow(self) -> None:
        try:
            downloads = await self.ask(self.downloads.all)
        finally:
            self._ticking = False
        if downloads is not None and self.is_open:
            self.follow(downloads)

    def follow(self, downloads: Sequence[Download]) -> None:
        """Show how far these are; a list that changed is read again."""
        before, self._live = self._live, {one.id: one for one in downloads}
        if changed(before, self._live):
            self.reload()
            return
        by_name = {one.name: one for one in downloads if one.state != "done"}
        for key in self._rows:
            entry = self._entries[key]
            if entry.download is not None and entry.model.name in by_name:
                self._put(replace(entry, download=by_name[entry.model.name]))

    def show_verifying(self) -> None:
        for entry in self.entries:
            share = self.verified_share(entry)
            if share != entry.verifying:
                self._put(replace(entry, verifying=share))

    # --- filter and order -------------------------------------------------------------------------

    def action_filter(self) -> None:
        self.add_class("-filtering")
        self.query_one(".filter", Input).focus()

    @on(Input.Changed, ".filter")
    def _on_typed(self, event: Input.Changed) -> None:
        if event.value != self._words:
            self._words = event.value
            self._show()

    @on(Input.Submitted, ".filter")
    def _on_filtered(self) -> None:
        self.set_class(bool(self._words.strip()), "-filtering")
        self.query_one(Table).focus()

    def action_close(self) -> None:
        """Leave the filter first, then the screen."""
        if not self.has_class("-filtering"):
            self.dismiss(None)
            return
        self.remove_class("-filtering")
        self.query_one(".filter", Input).value = self._words = ""
        self.query_one(Table).focus()
        self._show()

    def action_sort(self) -> None:
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self.tell(f"Sorted by {self._sort}")
        self._show()

    def action_every(self) -> None:
        """The whole catalogue, or the sensible choice again."""
        self._every = not self._every
        self._show()

    def action_move(self, steps: int) -> None:
        self.query_one(Table).action_move(steps)

    def action_page(self, pages: int) -> None:
        self.query_one(Table).action_page(pages)

    def action_help(self) -> None:
        self.app.push_screen(KeysScreen())


def _is(model: LocalModel, which: str | None) -> bool:
    return which is not None and which in (model.name, model.path)
