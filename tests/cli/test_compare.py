"""``corral compare`` as a script and as a person at a terminal runs it, on real tiny models."""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Corral
from tests.support.gguf_files import LLAMA_70B, sparse_llama, tiny_llama

from corral.chat.conversation import active_path
from corral.paths import Paths
from corral.store.store import Store
from corral.store.votes import Tally

SHORT = ("--format", "llama-2", "--max-tokens", "6", "--set", "temperature=0 n_ctx=512")


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """Two models that run."""
    paths = [tiny_llama(tmp_path / f"{name}.gguf", seed=len(name)) for name in ("one", "other")]
    return str(paths[0]), str(paths[1])


def test_json_is_an_array_of_done_objects_and_what_does_not_fit_is_one_of_them(
    corral: Corral, tmp_path: Path, two: tuple[str, str]
) -> None:
    large = str(sparse_llama(tmp_path / "large.gguf", LLAMA_70B))
    models = ("-m", large, "-m", two[0], "-m", two[1])
    run = corral("compare", *models, *SHORT, "--json", "--seed", "7", stdin="What is a llama?")
    assert run.code == 0, run.err
    big, one, other = run.json
    assert (big["stop_reason"], big["error"]["title"]) == ("error", "Not enough memory")
    assert (big["text"], big["contender"]) == ("", "large")
    # The contract's keys are all there, also where nothing came of it.
    assert big["usage"]["prompt_tokens"] == big["timings"]["load_ms"] == 0
    assert big["model"]["file"] == large and big["model"]["n_ctx"] is None
    for done, path in ((one, two[0]), (other, two[1])):
        assert (done["type"], done["stop_reason"], done["seed"]) == ("done", "length", 7)
        assert done["model"]["file"] == path and done["usage"]["completion_tokens"] == 6
        assert done["timings"]["tokens_per_second"] > 0 and done["memory_bytes"] > 1e6
    store = Store.open(Paths.from_environment().database)
    (conversation,) = store.conversations()
    question, *answers = store.messages(conversation.id)
    assert question.text == "What is a llama?" and len(answers) == 3
    assert {answer.parent for answer in answers} == {question.id}
    # The first that has an answer, in the order in which they were named.
    assert conversation.active == one["message"] and one["conversation"] == conversation.id
    # In the same conversation, as text: the answers, a table, and the order beside it.
    id = str(conversation.id)
    run = corral("compare", *models[2:], *SHORT, "-c", id, "And an alpaca?")
    assert run.code == 0, run.err
    assert run.out.index("── one ──") < run.out.index("── other ──") < run.out.index("tok/s")
    assert "corral: one, then other · seed " in run.err
    assert len(store.messages(conversation.id)) == 7 and store.votes() == []
    store.close()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-m", "smollm2-135m-instruct"], 2, "at least two contenders"),
        (["-m", "smollm2-135m-instruct"] * 2, 2, "named twice without any difference"),
        (["-m", "smollm2-135m-instruct", "-m", "nobody"], 3, "nobody"),
        (["--preset", "brief", "--preset", "poet"], 3, "no preset called poet"),
        (["--set", "warmth=1", "--set", "warmth=2"], 2, "warmth=1 is no parameter with a value"),
        (["--set", "seed=-1", "--set", "seed=2"], 2, "seed"),
        (["-m", "a", "-m", "b", "--blind"], 2, "needs a terminal"),
        (["-m", "a", "-m", "b", "--no-save", "-c", "1"], 2, "--no-save keeps nothing"),
        (["-m", "a", "-m", "b", "-c", "99"], 3, "99"),
        (["--votes"], 0, "Nothing was voted on yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_wish_is_refused_before_anything_is_written(
    private_home: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    from corral.cli.compare import compare

    with pytest.raises(SystemExit) as ended:
        compare.main(["Hello", *arguments])
    assert (ended.value.code or 0, said in capsys.readouterr().err) == (code, True)
    paths = Paths.from_environment()
    if paths.database.exists():
        store = Store.open(paths.database)
        assert store.conversations() == []
        store.close()


@pytest.mark.skipif(os.name != "posix", reason="there are no such terminals elsewhere")
def test_a_blind_comparison_hides_the_names_until_the_vote(
    two: tuple[str, str], private_home: Path
) -> None:
    import pty

    arguments = ["compare", "--blind", "-m", two[0], "-m", two[1], *SHORT, "Hello"]
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "corral", *arguments])
    seen = ""

    def until(words: str) -> None:
        nonlocal seen
        end = time.monotonic() + 60
        while words not in seen:
            assert time.monotonic() < end, seen
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(terminal, 65536).decode(errors="replace")
                except OSError:
                    assert words in seen, seen

    try:
        until("Which is the best? A, B, or - for none")
        assert "── A ──" in seen and "── B ──" in seen
        assert "other" not in seen and "tok/s" not in seen
        os.write(terminal, b"x\r")
        until("Type A, B or -")
        os.write(terminal, b"b\r")
        until("won, and is the answer")
        assert "tok/s" in seen and "one" in seen and "other" in seen
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    winner = "other" if "corral: other won" in seen else "one"
    loser = "one" if winner == "other" else "other"
    store = Store.open(Paths.from_environment().database)
    assert store.votes() == [Tally(winner, 1, 1), Tally(loser, 0, 1)]
    (conversation,) = store.conversations()
    answer = active_path(store.messages(conversation.id), conversation.active)[-1]
    assert answer.model is not None and answer.model["name"] == winner
    store.close()
