"""The completion screen: a text the model writes on in, from the keys to the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.chat_app import Chat, History, chat
from tests.support.scripted_engine import Script

from corral.chat import texts
from corral.chat.conversation import Message, active_path
from corral.chat.texts import Piece
from corral.errors import EngineDied, StoreError
from corral.store.store import Store
from corral.tui.screens.completion import CompletionScreen
from corral.tui.widgets.text_editor import LONGEST

BEGINNING = "The llama is a camelid."
HOSTILE = "[/INST] [@click=app.quit]x[/] \x1b]52;c;aGk=\x07 \u202egpj.exe\tand\r\nmore"


def screen_of(c: Chat) -> CompletionScreen:
    assert isinstance(c.app.screen, CompletionScreen)
    return c.app.screen


async def begin(c: Chat, text: str = BEGINNING) -> CompletionScreen:
    await c.type("/complete")
    await c.pilot.press("enter")
    await c.until(lambda: isinstance(c.app.screen, CompletionScreen))
    await c.pilot.pause()
    if text:
        screen_of(c).editor.insert(text)
        await c.pilot.pause()
    return screen_of(c)


async def press(c: Chat, *keys: str) -> None:
    """Press, and wait until the model has written what that asks for."""
    screen = screen_of(c)
    for key in keys:
        await c.pilot.press(key)
        await c.pilot.pause()
        await c.until(lambda: not screen._writing and not screen.looking)
        await c.pilot.pause()


def stored(c: Chat) -> list[Message]:
    """The path as it is in the store; its words are what the editor shows."""
    id = c.screen.conversing.id
    return active_path(c.store.messages(id), c.store.conversation(id).active)


def pieces(c: Chat) -> list[tuple[str, str]]:
    assert texts.joined(stored(c)) == screen_of(c).editor.text
    return [(one.role, one.text) for one in stored(c)]


async def test_it_is_written_undone_tried_again_and_found_again(tmp_path: Path) -> None:
    scripts = [Script([" It ", "hums."]), Script([" And ", "rests."], stop_reason="length")]
    scripts += [Script([word], stop_reason="length") for word in (" One.", " Two.", " Three.")]
    async with chat(tmp_path, *scripts) as c:
        screen = await begin(c)
        assert "the model goes on" not in c.text() and "Tab go on" in c.text()
        await press(c, "tab", "tab")
        user, first, second = ("user", BEGINNING), ("assistant", " It hums."), " And rests."
        assert pieces(c) == [user, first, ("assistant", second)]
        await c.until(lambda: "/ 4 096" in c.text())
        assert "Tiny Llama" in c.text() and "41.2 tok/s" in c.text()
        # What the model wrote is tinted, and nothing else.
        whole = BEGINNING + " It hums. And rests."
        assert screen.editor._spans == [(len(BEGINNING), len(whole))]
        tinted = screen.editor.get_line(0)
        assert [(span.start, span.end) for span in tinted.spans] == [(len(BEGINNING), len(whole))]

        # Undo piece by piece, redo, and nothing more where there is nothing.
        await press(c, "ctrl+z", "ctrl+z")
        assert pieces(c) == [user]
        await press(c, "ctrl+y", "ctrl+y", "ctrl+y")
        assert pieces(c) == [user, first, ("assistant", second)]
        # What is typed is undone by itself first.
        await c.pilot.press("x")
        assert screen.editor.text == whole + "x" and "kept as a draft" in c.text()
        await press(c, "ctrl+z")
        assert screen.editor.text == whole
        await press(c, "ctrl+y")
        assert screen.editor.text == whole + "x"
        await press(c, "ctrl+z", "ctrl+z")
        assert pieces(c) == [user, first]
        await press(c, "ctrl+y")

        # Candidates beside the last piece, walked around.
        await press(c, "ctrl+r")
        assert pieces(c)[-1] == ("assistant", " Three.") and "‹ 4/4 ›" in c.text()
        walked = []
        for _ in range(4):
            await press(c, "f4")
            walked.append(pieces(c)[-1][1])
        assert walked == [second, " One.", " Two.", " Three."]
        await press(c, "f3", "f3")
        assert pieces(c)[-1] == ("assistant", " One.")
        seeds = [one.parameters for one in c.store.messages(screen.conversing.id)[3:]]
        assert all(one and one["max_tokens"] == 64 for one in seeds)

        # An edit in the middle is a branch; what follows stays whose it is.
        before = {one.id: one.text for one in c.store.messages(screen.conversing.id)}
        screen.editor.put_cursor(len("The llama"))
        screen.editor.insert(" (Lama glama)")
        c.engine.scripts = [Script([" Yes."])]
        await press(c, "tab")
        edited = "The llama (Lama glama) is a camelid."
        assert "".join(text for _, text in pieces(c)) == f"{edited} It hums. One. Yes."
        assert [role for role, _ in pieces(c)][-3:] == ["assistant"] * 3
        after = {one.id: one.text for one in c.store.messages(screen.conversing.id)}
        assert after.items() >= before.items(), "nothing is lost"

        # Away and back again: it opens here, by its title in the list.
        id = screen.conversing.id
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)
        assert c.screen.conversing.id == 0 and c.screen.prompt.text == ""
        assert "The llama is a camelid." in c.text()
        await c.open(id)
        assert screen_of(c).editor.text == f"{edited} It hums. One. Yes."
    async with chat(tmp_path) as c:
        await c.until(lambda: isinstance(c.app.screen, CompletionScreen), "it opens here again")
        await c.until(lambda: screen_of(c).editor.text == f"{edited} It hums. One. Yes.")


async def test_alternatives_are_looked_at_and_one_is_taken(tmp_path: Path) -> None:
    async with chat(tmp_path, Script([" It is soft."]), Script([" hums"])) as c:
        screen = await begin(c)
        await press(c, "tab")
        # Behind the end: what could come next.
        await press(c, "ctrl+l")
        assert "What could come next" in c.text() and "60.00 %" in c.text()
        assert screen.alternatives.has_keys and "plain softmax, temperature 1" in c.text()
        # Token by token back, and forth.
        await c.pilot.press("left", "left")
        await c.until(lambda: screen.editor.selected_text == " is")
        assert "stands here" in c.text()
        await press(c, "right", "left", "left")
        assert screen.editor.selected_text == " It"
        # What is no text of its own is not taken, and says so.
        await press(c, "home", "down", "down", "enter")
        assert "ends the text" in c.text() and screen.alternatives.display
        await press(c, "down", "enter")
        assert "part of a character" in c.text()
        await press(c, "home", "enter")
        assert not screen.alternatives.display and screen.editor.has_focus
        assert screen.editor.text == BEGINNING + " llama hums"
        assert [text for _, text in pieces(c)] == [BEGINNING, " ", "llama", " hums"]
        every = {one.text for one in c.store.messages(screen.conversing.id)}
        assert " It is soft." in every, "the other branch stays"
        # Esc: first the list, then a look that goes on, then the text.
        c.engine.hold_looks = True
        await c.pilot.press("ctrl+l")
        await c.until(lambda: screen.looking and len(c.engine.looks) > 6)
        await c.pilot.press("tab")
        await press(c, "escape")
        assert not screen.alternatives.display and c.covered
        assert screen.editor.text == BEGINNING + " llama hums", "nothing was written meanwhile"


@pytest.mark.parametrize("size", [(80, 24), (60, 20)], ids=["80x24", "60x20"])
async def test_it_works_on_small_screens_and_stops_at_once(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    held = [Script([" One"], hold_after=1), Script([" Two", " words"], hold_after=1)]
    async with chat(tmp_path, Script([" It hums. " * 300]), *held, size=size) as c:
        screen = await begin(c)
        assert screen.editor.size.height >= size[1] - 8
        await press(c, "tab")
        await c.until(lambda: "/ 4 096" in c.text())
        assert "Tab go on" in c.text() and "Esc close" in c.text()
        assert screen.editor.scroll_offset.y > 0, "the end is in view"
        await press(c, "ctrl+l")
        assert "60.00 %" in c.text() and screen.editor.size.height >= 4
        await press(c, "escape")
        # Three candidates; the first is stopped, and then none follows.
        await c.pilot.press("ctrl+r")
        await c.until(lambda: " One" in screen.editor.text)
        await c.until(lambda: "writing 1 of 3" in c.text())
        await c.pilot.press("x")
        await press(c, "escape")
        assert pieces(c)[-1] == ("assistant", " One"), "it stays, and nothing is typed into it"
        assert stored(c)[-1].status == "stopped" and len(c.engine.scripts) == 1
        await press(c, "f5", "f5")
        assert "to its own end" in c.text()
        assert c.store.conversation(screen.conversing.id).parameters["max_tokens"] == 0


async def test_what_is_typed_outlives_the_program_and_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat(tmp_path, Script([" It hums."])) as c:
        screen = await begin(c)
        await press(c, "tab")
        await c.pilot.press("x", "y")
        await c.until(lambda: c.store.conversation(screen.conversing.id).draft.endswith("xy"))
        assert texts.joined(stored(c)) == BEGINNING + " It hums."
    async with chat(tmp_path) as c:
        await c.until(lambda: isinstance(c.app.screen, CompletionScreen))
        screen = screen_of(c)
        await c.until(lambda: screen.editor.text == BEGINNING + " It hums.xy")
        assert c.screen.prompt.text == ""
        # A hit of the search shows its place, and what was typed stays.
        first = c.store.messages(screen.conversing.id)[0]
        await c.open(screen.conversing.id, first.id)
        assert (screen.editor.text[-2:], screen.editor.cursor) == ("xy", len(BEGINNING))
        screen.editor.put_cursor(len(screen.editor.text))

        def full(*_: object) -> None:
            raise StoreError("The disk is full")

        monkeypatch.setattr(Store, "add_pieces", full)
        await press(c, "tab")
        assert "The disk is full" in c.text()
        assert screen.editor.text == BEGINNING + " It hums.xy" and not c.engine.prompts
        await press(c, "escape")
        assert c.covered, "it is not left before it is stored"
        monkeypatch.undo()
        # An engine that dies in the middle: what it wrote stays, and the reason is told.
        c.engine.scripts = [Script([" Half", "x"], fail_after=1, error=EngineDied("It crashed"))]
        await press(c, "tab")
        assert "It crashed" in c.text()
        assert pieces(c) == [
            ("user", BEGINNING),
            ("assistant", " It hums."),
            ("user", "xy"),
            ("assistant", " Half"),
        ]
        # One that says nothing leaves no end behind, and that is told.
        c.engine.scripts = [Script([])]
        await press(c, "tab")
        assert pieces(c)[-1] == ("assistant", " Half")
        assert "The model would end the text here" in c.text()
        c.engine.scripts = [Script([], fail_after=0, error=EngineDied("Again"))]
        await press(c, "tab")
        assert pieces(c)[-1] == ("assistant", " Half")


async def test_texts_and_chats_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    def two(history: History) -> None:
        store = history.store
        made = store.create_conversation(parameters={"format": "completion"})
        store.add_pieces(made.id, None, [Piece("A text. " + HOSTILE, None)])
        history.conversation("A chat", ("one?", "one."))

    async with chat(tmp_path, Script([" More"], hold_after=1), fill=two) as c:
        one, other = sorted(c.store.conversations(), key=lambda found: found.id)
        await c.type("half a message")
        await c.open(one.id)
        screen = screen_of(c)
        await c.until(lambda: "A text." in c.text())
        assert "\x1b" not in screen.editor.text and "[@click=app.quit]x[/]" in c.text()
        shown = screen.editor.text
        # Nothing was changed by showing it.
        assert not screen.editor.changed and c.store.conversation(other.id).draft
        await c.pilot.press("tab")
        await c.until(lambda: screen.editor.text == shown + " More")
        # Another conversation while it is written: it goes on alone, and is whole afterwards.
        await c.open(other.id)
        assert not c.covered and c.screen.prompt.text == "half a message"
        assert [message.text for message in c.path()] == ["one?", "one."]
        c.engine.go_on()
        await c.settled()
        assert [one.text for one in c.path()] == ["one?", "one."]
        await c.open(one.id)
        assert screen_of(c).editor.text == shown + " More"
        assert c.store.message(stored(c)[0].id).text == "A text. " + HOSTILE
        # Back is the chat that was there before, with what stood in its box.
        await press(c, "escape")
        assert c.screen.conversing.id == other.id
        assert c.screen.prompt.text == "half a message"
        c.screen.prompt.fill("")

        # An empty text that nobody wrote in is none; too much text is refused.
        count = len(c.store.conversations())
        screen = await begin(c, "")
        await c.pilot.press("tab")
        await c.until(lambda: "Write a beginning first" in c.text())
        screen.editor.insert("x" * (LONGEST + 1))
        await c.until(lambda: "Not pasted" in c.text())
        await c.pilot.press("a")
        await c.until(lambda: screen.conversing.id != 0)
        await press(c, "backspace", "escape")
        assert not c.covered and len(c.store.conversations()) == count


async def test_a_base_model_is_offered_a_text(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        assert "/complete" not in c.text()
        model = c.app.library.models()[0]
        c.app.library.set_format(str(model.path), "completion")
        await c.screen.conversing.find_model()
        c.screen.tell()
        await c.until(lambda: "a base model goes on with texts · /complete" in c.text())
        await c.type("/complete Once upon a time")
        await c.pilot.press("enter")
        await c.until(lambda: isinstance(c.app.screen, CompletionScreen))
        await c.until(lambda: screen_of(c).editor.text == "Once upon a time")
        assert pieces(c) == [("user", "Once upon a time")]
