"""Branches on the screen: the tree, other answers, forks, and what is deleted and comes back."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.chat_app import Chat, History, chat
from tests.support.scripted_engine import Script

from corral.chat.conversation import Message
from corral.store.store import Store
from corral.tui.dialogue import Dialogue
from corral.tui.screens.tree import TreeScreen
from corral.tui.widgets.branches import BranchesView, lay_out

HOSTILE = "[/INST] [@click=app.quit]x[/] \x1b]52;c;aGk=\x07 \u202egpj.exe\n\nmore"


def two(history: History) -> None:
    history.conversation("Two", ("one?", "one."), ("two?", "two."))


def branched(history: History) -> None:
    made = history.conversation("Branched", ("one?", "one."), ("two?", "two."))
    ids = [message.id for message in history.store.messages(made.id)]
    history.answer(ids[2], "two, otherwise.")
    edited = history.store.add_user(made.id, "two, but better?", ids[1])
    history.answer(edited.id, "better.")
    history.store.update_conversation(made.id, active=ids[3])


def tree_of(c: Chat) -> TreeScreen:
    assert isinstance(c.app.screen, TreeScreen)
    return c.app.screen


def rows(c: Chat) -> list[str]:
    return [twig.message.text for twig in tree_of(c).query_one(BranchesView).twigs]


async def open_tree(c: Chat) -> None:
    await c.pilot.press("ctrl+t")
    await c.until(lambda: isinstance(c.app.screen, TreeScreen) and "Esc close" in c.text())
    await c.pilot.pause()


async def at_message(c: Chat, number: int) -> None:
    c.screen.transcript.focus()
    await c.pilot.pause()
    c.screen.transcript.put_cursor(c.path()[number].id)
    await c.pilot.pause()


# --- how it is laid out -------------------------------------------------------------------------


def message(id: int, parent: int | None, role: str = "") -> Message:
    kind = role or ("user" if id % 2 else "assistant")
    return Message(id, 1, parent, kind, f"m{id}", "complete", 0.0)  # type: ignore[arg-type]


def drawn(dialogue: Dialogue) -> list[tuple[int, int, bool, bool]]:
    return [(t.message.id, t.level, t.first, t.active) for t in lay_out(dialogue)]


def test_the_shown_path_runs_straight_down_and_the_others_turn_off() -> None:
    tree = [message(1, None), message(2, 1), message(4, 1), message(3, 2), message(5, 4)]
    assert drawn(Dialogue(tree, 3)) == [
        (1, 0, False, True),
        (4, 1, True, False),
        (5, 1, False, False),
        (2, 0, False, True),
        (3, 0, False, True),
    ]
    # Another path: the other one turns off, and nothing else has changed.
    assert [id for id, level, *_ in drawn(Dialogue(tree, 5)) if level == 0] == [1, 4, 5]


def test_several_first_messages_and_an_empty_tree() -> None:
    assert lay_out(Dialogue()) == []
    both = [message(1, None), message(3, None)]
    assert drawn(Dialogue(both, 1)) == [(3, 1, True, False), (1, 0, False, True)]
    assert [twig.place for twig in lay_out(Dialogue(both, 1))] == [(2, 2), (1, 2)]


def test_a_damaged_tree_ends() -> None:
    ring = [message(1, 2), message(2, 1), message(3, None), message(4, 99)]
    assert {id for id, *_ in drawn(Dialogue(ring, 3))} == {3, 4}


def test_ten_thousand_messages_are_laid_out_at_once() -> None:
    long = Dialogue((message(id, id - 1 or None) for id in range(1, 10_001)), 10_000)
    deep = [message(1, None)]
    for id in range(2, 10_001, 2):  # Two answers to each, and the older one goes on.
        deep += [message(id, deep[-2].id if id > 2 else 1), message(id + 1, deep[-1].id)]
    started = time.perf_counter()
    assert len(lay_out(long)) == 10_000
    assert len(lay_out(Dialogue(deep, None))) == len(deep)
    assert time.perf_counter() - started < 2.0


# --- the tree screen ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (60, 20)])
async def test_every_branch_is_on_one_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    async with chat(tmp_path, fill=branched, size=size) as c:
        await open_tree(c)
        text = c.text()
        for words in ("one?", "two.", "two, otherwise.", "two, but better?", "better."):
            assert words in text
        assert "7 messages" in text and "3 branches" in text
        assert "├─○" in text and "2/2" in text
        assert text.count("●") == 4
        for words in ("Enter open", "r again", "f fork", "Del delete", "u undo"):
            assert words in text
        if size[0] >= 80:
            assert "41.2 tok/s" in text  # What is known of the answer at the cursor.


async def test_enter_opens_a_branch(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=branched) as c:
        await open_tree(c)
        assert tree_of(c).query_one(BranchesView).twig.message.text == "two."  # type: ignore[union-attr]
        while tree_of(c).query_one(BranchesView).twig.message.text != "better.":  # type: ignore[union-attr]
            await c.pilot.press("up")
        await c.pilot.press("enter")
        await c.until(lambda: not c.covered)
        await c.until(lambda: [m.text for m in c.path()][2:] == ["two, but better?", "better."])
        assert c.store.conversation(c.screen.conversing.id).active == c.path()[-1].id


async def test_deleting_and_undoing_in_the_tree(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=branched) as c:
        await open_tree(c)
        await c.pilot.press("up", "delete")
        await c.until(lambda: "Deleted 1 message" in c.text())
        assert len(rows(c)) == 6
        await c.pilot.press("home", "delete")
        await c.until(lambda: "no message here" in c.text() or "Deleted 6" in c.text())
        assert rows(c) == []
        await c.pilot.press("u")
        await c.until(lambda: "6 messages are back" in c.text())
        await c.pilot.press("u")
        await c.until(lambda: "1 message is back" in c.text())
        await c.pilot.press("u")
        await c.until(lambda: "Nothing of this conversation was deleted" in c.text())
        assert len(rows(c)) == 7
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)
        assert len(c.store.messages(c.screen.conversing.id)) == 7


async def test_an_answer_is_made_again_from_the_tree(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["thirdly."]), fill=branched) as c:
        await open_tree(c)
        await c.pilot.press("r")
        await c.until(lambda: "thirdly." in [m.text for m in c.path()])
        await c.settled()
        assert "‹ 3/3 ›" in c.text()


async def test_while_an_answer_is_written_the_tree_only_opens(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(hold_after=1), fill=two) as c:
        await c.send("three?")
        await c.until(lambda: c.screen.conversing.live is not None)
        await open_tree(c)
        for key in ("delete", "u", "r", "f"):
            await c.pilot.press(key)
            await c.until(lambda: "is being written here" in c.text())
            assert c.covered
        await c.pilot.press("escape")
        c.engine.go_on()
        await c.settled()
        assert len(c.path()) == 6


async def test_foreign_text_is_harmless_in_the_tree(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        made = history.conversation("T", (HOSTILE, HOSTILE))
        history.answer(
            history.store.messages(made.id)[0].id,
            HOSTILE * 2000,
            model={"name": HOSTILE, "title": HOSTILE, "quant": HOSTILE},
        )

    async with chat(tmp_path, fill=fill) as c:
        await open_tree(c)
        text = c.text()
        assert "[/INST]" in text and "\x1b" not in text and "\u202e" not in text
        await c.pilot.press("up", "down", "escape")


async def test_ten_thousand_messages_do_not_stall_the_tree(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        made = history.conversation("Long", ("words 0", "words"))
        with history.store._database.write() as connection:
            for number in range(3, 10_001):
                connection.execute(
                    "INSERT INTO message (conversation, parent, role, text, status, created)"
                    " VALUES (?, ?, ?, ?, 'complete', 1.0)",
                    (made.id, number - 1, ("assistant", "user")[number % 2], f"words {number}"),
                )
            connection.execute("UPDATE conversation SET active = 10000")

    async with chat(tmp_path, fill=fill) as c:
        started = time.perf_counter()
        await open_tree(c)
        assert time.perf_counter() - started < 5.0
        assert "words 10000" in c.text() and "10 000 messages" in c.text()
        started = time.perf_counter()
        await c.pilot.press("home", "pagedown", "end", "pageup", "up", "down")
        assert time.perf_counter() - started < 3.0


# --- in the transcript --------------------------------------------------------------------------


async def test_a_message_is_deleted_and_comes_back_after_a_restart(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        await at_message(c, 2)
        await c.pilot.press("delete")
        await c.until(lambda: [m.text for m in c.path()] == ["one?", "one."])
        assert "two." not in c.text()
    async with chat(tmp_path) as c:
        assert [m.text for m in c.path()] == ["one?", "one."]
        await c.type("/undo")
        await c.pilot.press("escape", "enter")
        await c.until(lambda: [m.text for m in c.path()][2:] == ["two?", "two."])
        assert "2 messages are back" in c.toasts()


async def test_only_one_message_is_deleted(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        await at_message(c, 1)
        await c.pilot.press("x")
        await c.until(lambda: [m.text for m in c.path()] == ["one?", "two?", "two."])
        await c.pilot.press("u")
        await c.until(lambda: len(c.path()) == 4)


async def test_all_of_a_conversation_can_be_deleted_and_brought_back(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        id = c.screen.conversing.id
        await at_message(c, 0)
        await c.pilot.press("delete")
        await c.until(lambda: c.screen.has_class("-empty"))
        assert c.store.conversation(id).messages == 0
        await c.screen.action_undo_deletion()
        await c.until(lambda: len(c.path()) == 4)
        assert not c.screen.has_class("-empty")


async def test_a_fork_is_another_conversation(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["forked."]), fill=two) as c:
        before = c.screen.conversing.id
        await at_message(c, 1)
        await c.pilot.press("f")
        await c.until(lambda: c.screen.conversing.id != before)
        assert [m.text for m in c.path()] == ["one?", "one."]
        await c.send("another way?")
        await c.settled()
        assert [m.text for m in c.path()] == ["one?", "one.", "another way?", "forked."]
        assert [m.text for m in c.store.messages(before)] == ["one?", "one.", "two?", "two."]


async def test_an_answer_can_be_edited(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        await c.type("a draft")
        await at_message(c, 3)
        await c.pilot.press("e")
        await c.pilot.pause()
        assert c.screen.prompt.text == "two."
        c.screen.prompt.fill("two, and more.")
        await c.pilot.press("enter")
        await c.until(lambda: [m.text for m in c.path()][-1] == "two, and more.")
        assert "‹ 2/2 ›" in c.text() and "edited by you" in c.text()
        assert c.screen.prompt.text == "a draft"
        assert c.engine.prompts == []
        # And the conversation goes on from it.
        await c.send("!")
        await c.settled()
        assert c.path()[3].text == "two, and more."


async def test_an_answer_that_was_stopped_goes_on_in_its_place(tmp_path: Path) -> None:
    scripts = (Script(["One, ", "two"], hold_after=1), Script(["two, ", "three."]))
    async with chat(tmp_path, *scripts) as c:
        await c.send("Count")
        await c.until(lambda: "One," in c.text())
        await c.pilot.press("escape")
        await c.settled()
        await c.type("/continue")
        await c.pilot.press("escape", "enter")
        await c.until(lambda: "two, three." in c.path()[-1].text and not c.app.turns.live)
        await c.settled()
        assert [m.text for m in c.path()] == ["Count", "One, two, three."]
        assert "One, two, three." in c.text()
        answer = c.store.messages(c.screen.conversing.id)[-1]
        assert (answer.status, answer.stop_reason) == ("complete", "end")
        assert answer.parameters is not None
        (piece,) = answer.parameters["pieces"]
        assert (piece["characters"], piece["stop_reason"]) == (5, "stopped")
        # It came to its end now.
        await c.type("/continue")
        await c.pilot.press("escape", "enter")
        await c.until(lambda: "came to its own end" in c.toasts())


async def test_another_answer_by_another_model_and_with_other_parameters(tmp_path: Path) -> None:
    from tests.support.gguf_files import tiny_llama

    other = tiny_llama(tmp_path / "other.gguf", context=4096, name="other")

    def fill(history: History) -> None:
        two(history)

    async with chat(tmp_path, Script(["again."]), Script(["by another."]), fill=fill) as c:
        c.app.library.import_file(other, format="llama-2", name="other-llama")
        await c.type("/again temperature=1.5 seed=9")
        await c.pilot.press("escape", "enter")
        await c.until(lambda: c.path()[-1].text == "again.")
        await c.settled()
        answer = c.store.message(c.path()[-1].id)
        assert answer.parameters is not None and answer.parameters["temperature"] == 1.5
        await c.screen.again_command("other")
        await c.until(lambda: c.path()[-1].text == "by another.")
        await c.settled()
        answer = c.store.message(c.path()[-1].id)
        assert answer.model is not None and answer.model["name"] == "other-llama"
        assert "‹ 3/3 ›" in c.text()
        for wrong, said in (
            ("nothing-like-it", "No model that is installed"),
            ("temperature=hot", "temperature"),
            ("warmth=1", "no parameter warmth"),
        ):
            await c.screen.again_command(wrong)
            await c.until(lambda said=said: said in c.toasts())  # type: ignore[misc]
        assert len(c.store.messages(c.screen.conversing.id)) == 6


async def test_a_word_of_a_lost_branch_is_found_and_shown(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=branched) as c:
        (hit,) = c.store.search("better.")
        assert hit.message is not None
        assert hit.message not in [m.id for m in c.path()]
        await c.open(hit.conversation.id, hit.message)
        assert hit.message in [m.id for m in c.path()]
        assert "better" in c.text()


async def test_two_programs_in_one_conversation_both_go_on(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["to mine."]), Script(["on."]), fill=two) as c:
        id = c.screen.conversing.id
        beside = Store.open(c.paths.database)
        last = c.path()[-1].id
        theirs = beside.add_user(id, "theirs?", last)
        begun = beside.begin_answer(theirs.id, model=None, parameters=None)
        await c.send("mine?")
        await c.settled()
        # What was on this screen is what was answered.
        assert [m.text for m in c.path()] == ["one?", "one.", "two?", "two.", "mine?", "to mine."]
        beside.finish_answer(begun.id, text="to theirs.", status="complete", stop_reason="end")
        await open_tree(c)
        await c.until(lambda: "to theirs." in c.text())
        assert len(rows(c)) == 8
        await c.pilot.press("escape")
        # One goes and another one comes: so many there were before.
        beside.delete_message(theirs.id)
        fresh = beside.add_user(id, "instead?", last)
        beside.finish_answer(
            beside.begin_answer(fresh.id, model=None, parameters=None).id,
            text="of that.", status="complete", stop_reason="end",
        )  # fmt: skip
        await open_tree(c)
        await c.until(lambda: "instead?" in c.text() and "theirs?" not in c.text())
        assert len(rows(c)) == 8
        await c.pilot.press("escape")
        # The other one deletes what is on this screen: what is typed is not lost.
        beside.delete_message(c.path()[4].id)
        c.screen.prompt.area.focus()
        await c.type("and now?")
        await c.pilot.press("enter")
        await c.until(lambda: "was deleted" in c.toasts())
        await c.settled()
        assert c.screen.prompt.text == "and now?"
        assert len(beside.messages(id)) == 6
        beside.close()


# --- a long conversation ------------------------------------------------------------------------


def long(history: History) -> None:
    made = history.conversation("Long", ("words 1", "words 2"))
    with history.store._database.write() as connection:
        for number in range(3, 1_001):
            connection.execute(
                "INSERT INTO message (conversation, parent, role, text, status, created)"
                " VALUES (?, ?, ?, ?, 'complete', 1.0)",
                (made.id, number - 1, ("assistant", "user")[number % 2], f"words {number}"),
            )
        connection.execute("UPDATE conversation SET active = 1000")
    history.conversation("Short", ("one?", "one."))


async def test_the_end_of_a_long_conversation_is_read_first(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["so."]), fill=long) as c:
        await c.screen.open_conversation(1)
        # What is looked at is there before the rest of it was read.
        assert [m.text for m in c.path()][-1] == "words 1000" and len(c.path()) == 200
        await c.until(lambda: len(c.path()) == 1_000)
        assert "words 1000" in c.text() and c.screen.transcript.following
        assert [m.id for m in c.path()] == list(range(1, 1_001))
        c.screen.transcript.focus()
        for _ in range(3):
            await c.pilot.press("pageup")
        await c.until(lambda: not c.screen.transcript.following)
        assert "words 9" in c.text()
        await c.send("and?")
        await c.settled()
        assert [m.text for m in c.path()][-2:] == ["and?", "so."]
        assert len(c.store.messages(1)) == 1_002


async def test_who_looks_elsewhere_meanwhile_loses_nothing(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=long) as c:
        await c.screen.open_conversation(1)
        await c.screen.open_conversation(2)
        await c.pilot.pause(0.3)
        assert [m.text for m in c.path()] == ["one?", "one."]
        await c.screen.open_conversation(1)
        assert not c.screen.conversing.dialogue.whole
        await open_tree(c)
        await c.until(lambda: "1 000 messages" in c.text())
        await c.pilot.press("home", "enter")
        await c.until(lambda: not c.covered)
        await c.until(lambda: "▌ words 1 " in c.text())
        await c.until(lambda: "words 3" in c.text() and len(c.path()) == 1_000)


def test_what_is_read_later_does_not_undo_what_is_new() -> None:
    dialogue = Dialogue([message(3, 2), message(4, 3)], 4)
    dialogue.whole = False
    assert [m.id for m in dialogue.path()] == [3, 4]
    dialogue.add(replace(message(4, 3), text="newer"))
    dialogue.add(message(5, 4))
    dialogue.active = 5
    dialogue.fill([message(1, None), message(2, 1), message(3, 2), message(4, 3)])
    assert [m.id for m in dialogue.path()] == [1, 2, 3, 4, 5]
    assert dialogue.path()[3].text == "newer" and dialogue.whole
