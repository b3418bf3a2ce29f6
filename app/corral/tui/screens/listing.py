"""A modal screen with one list: what there is is read in a thread, and painted as wide as it is."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Generic, TypeVar

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral.errors import CorralError
from corral.tui.screens.modal import Bottom, Frame, Heading, Hint, Hints, Modal, Notice, Result, Top

Item = TypeVar("Item")

CLOSE: Hint = ("Esc", "close", "close")


class Listing(Modal[Result], Generic[Result, Item]):
    """A line an item; the cursor stays where it is when the list is read again.

    Args:
        at: what :meth:`place` gets at first.
    """

    AUTO_FOCUS = "OptionList"
    HEADING: ClassVar[str]
    ABOUT: ClassVar[str]
    """What a person should know of it; goes where there is nothing in the list."""
    FRAME: ClassVar[str] = "-wide"

    def __init__(self, at: str = "") -> None:
        super().__init__()
        self._at_first = at
        self.items: list[Item] = []
        self.looked = False
        """Whether it was read; before that nobody knows that nothing is there."""

    # --- what each of them says -------------------------------------------------------------------
    # Not abstract methods: Textual's own metaclass is none of abc's.

    def read(self) -> list[Item]:
        """What there is; called in a thread.

        Raises:
            CorralError: it cannot be read.
        """
        raise NotImplementedError

    def line(self, item: Item, width: int) -> Content:
        """How it reads in the list, in at most so many cells."""
        raise NotImplementedError

    def tell(self) -> None:
        """Bring everything around the list up to date."""

    def place(self, at: str) -> int | None:
        """Where the cursor belongs for what :meth:`look` was given; None leaves it where it is."""
        return None

    # --- what they share --------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Frame(classes=self.FRAME):
            with Top():
                yield Heading(self.HEADING, "looking …")
                yield Static(self.ABOUT, markup=False, classes="hint")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Static("", markup=False, classes="detail")
                yield Notice()
                yield Hints([CLOSE])

    def on_mount(self) -> None:
        self.look(self._at_first)

    @work(exclusive=True, group="look")
    async def look(self, at: str = "") -> None:
        """Read it, again where it was read before."""
        try:
            items = await asyncio.to_thread(self.read)
        except CorralError as error:
            if self.is_open:
                self.query_one(Heading).tell("")
                self.query_one(Notice).fail(error)
            return
        if self.is_open:
            self.items, self.looked = items, True
            self.redraw(self.place(at))

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)

    def redraw(self, at: int | None = None) -> None:
        """Paint the list, with the cursor on line ``at``; None leaves it about where it is."""
        if not self.looked or not self.is_open:
            return
        options = self.query_one(OptionList)
        at = (options.highlighted or 0) if at is None else at
        width = max(20, options.scrollable_content_region.width - 2)
        options.set_options(Option(self.line(item, width)) for item in self.items)
        options.highlighted = min(at, len(self.items) - 1) if self.items else None
        for part in (".hint", ".detail"):
            self.query_one(part).display = bool(self.items)
        self.tell()

    @property
    def chosen(self) -> Item | None:
        """The item at the cursor."""
        number = self.query_one(OptionList).highlighted
        return self.items[number] if number is not None and number < len(self.items) else None

    def detail(self, text: str) -> None:
        """Say more about it below the list."""
        self.query_one(".detail", Static).update(Content(text))
