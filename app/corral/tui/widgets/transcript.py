"""The messages of one conversation: all of them are data, the ones around the eye are widgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.layout import DockArrangeResult
from textual.message import Message as TextualMessage
from textual.widget import Widget

from corral.chat.conversation import Message
from corral.chat.window import Seen, recorded
from corral.tui import keys
from corral.tui.dialogue import Dialogue
from corral.tui.turns import Live
from corral.tui.widgets.alone import alone
from corral.tui.widgets.filling import MOST, fitting
from corral.tui.widgets.marks import NO_MARKS, Marks, marks_of
from corral.tui.widgets.message import AnswerView, MessageView, QuestionView
from corral.tui.widgets.placed import Placed

ABOVE = 2
"""Lines above a message that was searched for."""

PAGE = 8
"""Messages mounted at a time while somebody scrolls."""


class Transcript(VerticalScroll, Placed, can_focus=True):
    """A window over the active path of a conversation.

    It stays at the bottom while an answer grows and keeps its place while somebody reads above.
    """

    FOCUS_ON_CLICK = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor(-1)", show=False),
        Binding("down", "cursor(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "start", show=False),
        Binding("end", "end", show=False),
        Binding("left", "screen.sibling(-1)", show=False),
        Binding("right", "screen.sibling(1)", show=False),
        *(
            Binding(key.keys, f"screen.{key.action}", show=False)
            for key in keys.group("transcript")
            if key.action
        ),
    ]

    class Moved(TextualMessage):
        """The view has moved; whether the end is in it may have changed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._dialogue = Dialogue()
        self._path: list[Message] = []
        self._first = 0
        self._last = 0
        """The mounted messages are ``path[first:last]``."""
        self._views: dict[int, MessageView] = {}
        self._live: Live | None = None
        self._marks: dict[int, Marks] = {}
        self._seen: Seen | None = None
        """What the model would see now, where somebody measured it."""
        self._cursor: int | None = None
        self._held: tuple[Widget, int] | None = None
        self._paging = False
        self._width = 0
        self._short = False
        """Whether everything fits, so that it stands at the top and there is nothing to anchor."""

    # --- what is shown ----------------------------------------------------------------------------

    @property
    def path(self) -> Sequence[Message]:
        """All messages from the first to the active one."""
        return self._path

    @property
    def current(self) -> Message | None:
        """The message the cursor is on, while the transcript has the focus."""
        if not self.has_focus or self._cursor is None:
            return None
        return self._dialogue.get(self._cursor)

    @property
    def following(self) -> bool:
        """Whether the end of the conversation is in view, so that new words are seen."""
        return self._last == len(self._path) and self.is_vertical_scroll_end

    @alone
    async def show(self, dialogue: Dialogue, live: Live | None, at: int | None = None) -> None:
        """Show another conversation, at its end or at one of its messages."""
        if dialogue is not self._dialogue:
            self._seen = None
        self._dialogue, self._live = dialogue, live
        self._path, self._first, self._last = dialogue.path(), 0, 0
        self._cursor = at
        ids = [message.id for message in self._path]
        with self.app.batch_update():
            self._views.clear()
            await self.remove_children()
            if at in ids:
                # One message before it, so that the eye sees where it stands.
                self._first = max(0, ids.index(at) - 1)
                self._last = self._first + fitting(self._path[self._first :], self.size)
            else:
                self._last = len(self._path)
                self._first = self._last - fitting(reversed(self._path), self.size)
            self._draw_marks()
            await self.mount_all(self._make(self._path[self._first : self._last]))
        if at in self._views:
            self._mark()
            self._views[at].add_class("-found")
            self._paging = True
            self._short = False
            self.anchor()
            self.release_anchor()
            self._held = (self._views[at], ABOVE)
            self.refresh(layout=True)
            self.call_after_refresh(self._paged)
        else:
            self._to_end()

    @alone
    async def renew(self, live: Live | None) -> None:
        """The dialogue has changed: show what is new, take away what is no longer on the path."""
        self._live = live
        old, self._path = self._path, self._dialogue.path()
        common = 0
        for before, now in zip(old, self._path, strict=False):
            if before.id != now.id:
                break
            common += 1
        if common < max(len(old), len(self._path)):
            self._seen = None
        if not self._first <= common <= self._last:
            await self.show(self._dialogue, live)
            return
        self._draw_marks()
        fresh = self._path[common:]
        fresh = fresh[: fitting(fresh, self.size)]
        with self.app.batch_update():
            for message in old[common : self._last]:
                await self._views.pop(message.id).remove()
            if fresh:
                await self.mount_all(self._make(fresh))
            self._last = common + len(fresh)
            for message in self._path[self._first : self._last]:
                view = self._views[message.id]
                await view.renew(message, self._dialogue.place(message))
                await view.set_marks(self._marks.get(message.id, NO_MARKS))
                if live is not None and isinstance(view, AnswerView) and self._writes(message):
                    view.follow(live)

    async def settle(self, message: Message) -> None:
        """An answer has ended."""
        self._live = None
        self._path = self._dialogue.path()
        view = self._views.get(message.id)
        if isinstance(view, AnswerView):
            await view.settle(message)
        await self.renew(None)

    @alone
    async def lengthen(self, path: list[Message]) -> None:
        """More of the beginning of the path was read: what is shown stays as it is."""
        more = len(path) - len(self._path)
        self._path, self._first, self._last = path, self._first + more, self._last + more
        await self.mark(self._seen)
        self._page_if_near()

    def to_end(self) -> None:
        """Go to the end and stay there."""
        self.call_later(self._go_to_end)

    async def _go_to_end(self) -> None:
        if self._last < len(self._path):
            await self.show(self._dialogue, self._live)
        else:
            self._to_end()

    def _to_end(self) -> None:
        self.anchor()
        self.scroll_end(animate=False)

    @alone
    async def mark(self, seen: Seen | None) -> None:
        """Mark what the model would see now; None for what it saw for the last answer."""
        self._seen = seen
        before = self._marks
        self._draw_marks()
        if self._marks == before:
            return
        with self.app.batch_update():
            if not self.following:
                self._hold()
                self.call_after_refresh(self._paged)
            # A page may be swapped while one of them is changed.
            for id, view in list(self._views.items()):
                await view.set_marks(self._marks.get(id, NO_MARKS))

    def _draw_marks(self) -> None:
        running = self._live.seen if self._live is not None else None
        seen = running or (recorded(self._path) if self._seen is None else self._seen)
        self._marks = marks_of(self._path, seen)

    def _make(self, messages: Sequence[Message]) -> list[MessageView]:
        views: list[MessageView] = []
        for message in messages:
            place, marks = self._dialogue.place(message), self._marks.get(message.id, NO_MARKS)
            view: MessageView
            if message.role == "user":
                view = QuestionView(message, place, marks)
            else:
                live = self._live if self._writes(message) else None
                view = AnswerView(message, place, marks, live, lambda: self.following)
            self._views[message.id] = view
            views.append(view)
        return views

    def _writes(self, message: Message) -> bool:
        """Whether the running turn writes this message."""
        live = self._live
        return live is not None and live.answer is not None and live.answer.id == message.id

    # --- the window -------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._last < len(self._path):
            # What is the end of the widgets is not the end of the conversation.
            self.release_anchor()
        if round(old_value) != round(new_value):
            self.post_message(self.Moved())
            self._page_if_near()

    def _page_if_near(self) -> None:
        if self._paging or not self._last or not self.is_mounted:
            return
        near = self.size.height
        if self.scroll_y < near and self._first > 0:
            self._paging = True
            self.call_later(self._page, True)
        elif self.max_scroll_y - self.scroll_y < near and self._last < len(self._path):
            self._paging = True
            self.call_later(self._page, False)

    @alone
    async def _page(self, older: bool) -> None:
        """Mount a page on one side and take as much away on the other."""
        try:
            with self.app.batch_update():
                self._hold()
                if older:
                    start = max(0, self._first - PAGE)
                    await self.mount_all(self._make(self._path[start : self._first]), before=0)
                    self._first = start
                    surplus = self._path[max(self._first + MOST, self._in_view()) : self._last]
                    self._last -= len(surplus)
                else:
                    end = min(len(self._path), self._last + PAGE)
                    await self.mount_all(self._make(self._path[self._last : end]))
                    self._last = end
                    surplus = self._path[self._first : max(self._first, self._last - MOST)]
                    self._first += len(surplus)
                for message in surplus:
                    await self._views.pop(message.id).remove()
        finally:
            self.call_after_refresh(self._paged)

    def _in_view(self) -> int:
        """The number on the path after the last message that touches the screen."""
        bottom = self.scroll_offset.y + self.size.height
        last = self._first
        for at in range(self._first, self._last):
            view = self._views.get(self._path[at].id)
            if view is not None and view.virtual_region.y < bottom:
                last = at + 1
        return last

    def _paged(self) -> None:
        self._paging = False
        self._held = None
        self.vertical_scrollbar.position = self.scroll_y
        self._page_if_near()

    def _hold(self) -> None:
        """Keep the message at the top of the screen where it is through the next layout."""
        top = self.scroll_offset.y
        for message in self._path[self._first : self._last]:
            view = self._views[message.id]
            region = view.virtual_region
            if region.height and region.bottom > top:
                self._held = (view, region.y - top)
                return

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """Lay out as usual, but let the text under the eye stay where it was.

        Textual's anchor does the same for the bottom: the position changes inside the layout, so
        no frame shows the text at a wrong place.
        """
        if self._width and size.width != self._width and not self.following and not optimal:
            self._hold()
            self.call_after_refresh(self._paged)
        self._width = size.width
        result = super().arrange(size, optimal)
        if not optimal:
            most = result.total_region.bottom - size.height
            self._anchor_what_is_long(most)
            if self._held is not None:
                held, offset = self._held
                for placement in result.placements:
                    if placement.widget is held:
                        self._put(min(max(0, placement.region.y - offset), max(0, most)))
        return result

    def _anchor_what_is_long(self, most: int) -> None:
        """Textual's anchor would push a short text down to the bottom."""
        if most <= 0 and self.is_anchored:
            self._short = True
            self.anchor(False)
            self._put(0)
        elif most > 0 and self._short:
            self._short = False
            self.anchor()

    def _put(self, y: int) -> None:
        """Set the scroll position from inside a layout, where nothing may be refreshed."""
        self.set_reactive(Widget.scroll_y, y)
        self.set_reactive(Widget.scroll_target_y, y)

    # --- the cursor -------------------------------------------------------------------------------

    def on_focus(self) -> None:
        if self._cursor not in self._views:
            self._cursor = self._path[self._in_view() - 1].id if self._views else None
        self._mark()

    def _mark(self) -> None:
        for id, view in self._views.items():
            view.set_class(id == self._cursor, "-cursor")

    def put_cursor(self, id: int | None) -> None:
        """Put the cursor on a message and bring it into view."""
        self._cursor = id
        self._mark()
        if id in self._views:
            self.call_after_refresh(self._reveal, self._views[id])

    def action_cursor(self, step: int) -> None:
        """To the message before or after, in steps where the current one is longer."""
        view = self._views.get(self._cursor) if self._cursor is not None else None
        if view is None:
            self.on_focus()
            return
        top, bottom = self.scroll_offset.y, self.scroll_offset.y + self.size.height
        region = view.virtual_region
        if (region.y < top) if step < 0 else (region.bottom > bottom):
            self.scroll_relative(y=3 * step, animate=False)
            return
        at = next((n for n, m in enumerate(self._path) if m.id == self._cursor), 0) + step
        if self._first <= at < self._last:
            self._cursor = self._path[at].id
            self._mark()
            self._reveal(self._views[self._cursor], from_below=step < 0)

    def _reveal(self, view: MessageView, from_below: bool = False) -> None:
        region = view.virtual_region
        height = self.size.height
        y = region.y
        if from_below and region.height > height:
            y = region.bottom - height
        elif region.height <= height and region.y >= self.scroll_offset.y:
            y = max(self.scroll_offset.y, region.bottom - height)
        self.scroll_to(y=y, animate=False)

    def action_page(self, step: int) -> None:
        self.scroll_relative(y=step * max(1, self.size.height - 2), animate=False)
        self.call_after_refresh(self._cursor_into_view)

    def _cursor_into_view(self) -> None:
        self._cursor = self._path[self._in_view() - 1].id if self._views else None
        self._mark()

    def action_start(self) -> None:
        if self._first == 0:
            self.scroll_home(animate=False)
        elif self._path:
            self.call_later(self.show, self._dialogue, self._live, self._path[0].id)

    def action_end(self) -> None:
        self.to_end()
