"""A preset and a form that hold in a conversation."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.chat_app import Chat, chat
from tests.support.scripted_engine import Script

from corral.tui.screens.presets import PresetsScreen


async def command(c: Chat, text: str) -> None:
    c.screen.prompt.area.focus()
    await c.screen.submit(text)
    await c.pilot.pause()


async def test_a_preset_of_a_new_conversation_holds_for_all_its_answers(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(("positive",)), Script(("negative",))) as c:
        await command(c, "/preset sentiment")
        await c.until(lambda: "Sentiment holds from the next message on" in c.toasts())
        assert "sentiment · /preset off" in c.text()
        await c.send("I like it")
        await c.settled()
        await c.send("I do not")
        await c.settled()
        assert [sampling.temperature for sampling in c.engine.samplings] == [0, 0]
        assert all('"neutral"' in sampling.grammar for sampling in c.engine.samplings)
        assert (c.path()[-1].model or {})["preset"] == "sentiment"
        assert c.path()[0].text == "I like it"
        stored = c.store.conversation(c.screen.conversing.id)
        assert stored.preset == "sentiment"
        await command(c, "/preset off")
        await c.until(lambda: "No preset any more" in c.toasts())
        await c.send("And now?")
        await c.settled()
        assert not c.engine.samplings[-1].grammar
    async with chat(tmp_path) as c:
        assert "/preset off" not in c.text()


async def test_labels_are_kept_over_a_start(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(("spam",))) as c:
        await command(c, "/preset classify")
        await c.until(lambda: "needs to know the labels" in c.toasts())
        await command(c, "/preset classify spam, not spam")
        await c.until(lambda: "one of: spam, not spam" in c.toasts())
        await c.send("Win a prize")
        await c.settled()
    async with chat(tmp_path, Script(("spam",))) as c:
        await c.until(lambda: "classify: spam, not spam · /preset off" in c.text())
        await c.send("Again")
        await c.settled()
        assert '"not spam"' in c.engine.samplings[-1].grammar


async def test_the_screen_is_reached_by_the_command_and_chooses(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await command(c, "/preset")
        await c.until(lambda: isinstance(c.app.screen, PresetsScreen))
        await c.until(lambda: "Named entities" in c.text())
        await c.pilot.press("down", "enter")
        await c.until(lambda: not c.covered)
        await c.until(lambda: c.screen.conversing.conversation.preset == "answer")
        await command(c, "/preset nobody")
        await c.until(lambda: "no preset called nobody" in c.toasts())
        assert c.screen.conversing.conversation.preset == "answer"


async def test_a_form_of_a_file_holds_and_a_wrong_one_says_why(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"a": {"type": "string"}}}))
    grammar = tmp_path / "wrong.gbnf"
    grammar.write_text('root ::= "a"\nb ::= c')
    async with chat(tmp_path, Script(("{}",))) as c:
        await command(c, f"/form {grammar}")
        await c.until(lambda: "line 2: The rule c is used but not defined" in c.toasts())
        assert "goes on without it" not in c.toasts(), "none holds yet"
        await command(c, f"/form {schema}")
        await c.until(lambda: "Every answer follows this schema now" in c.toasts())
        assert "answers follow a schema · /form off" in c.text()
        await c.send("Fill it in")
        await c.settled()
        assert c.engine.samplings[-1].grammar.startswith("root ::=")
        await command(c, "/form off")
        await c.until(lambda: "no form any more" in c.toasts())
        await command(c, "/form /no/such/file")
        await c.until(lambda: "cannot be read" in c.toasts())
        await command(c, "/form")
        await c.until(lambda: "takes a JSON schema" in c.toasts())


async def test_completion_offers_presets(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        found = c.screen.preset_choices("")
        assert {"sentiment", "off"} <= {choice.text for choice in found}
        await c.type("/preset sent")
        await c.until(lambda: "Positive, negative or neutral" in c.text())
