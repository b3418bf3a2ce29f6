"""Every format tells the same; a file is whole or as it was."""

from __future__ import annotations

import html.parser
import json
import os
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from tests.moving.trees import SHA, answer, grown

from corral.errors import DoesNotFit, NotFound, Refused, UsageError
from corral.models.files import Cancellation
from corral.moving import exporting
from corral.moving.exporting import ENDINGS, Format, export_file, export_folder, file_name
from corral.moving.files import whole_file
from corral.store.store import Store

NOW = 1_800_000_000.0
READABLE: list[Format] = ["markdown", "html", "text"]


def exported(store: Store, ids: list[int], format: Format) -> str:
    return "".join(exporting.stream(store, ids, format, now=NOW))


class Page(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("format", READABLE)
def test_words_and_provenance_are_in_every_readable_format(format: Format, store: Store) -> None:
    text = exported(store, [grown(store)], format)
    if format == "html":
        text = Page(text).text
    plain = text.replace("\\", "")
    for words in (
        "Llama vs alpaca", "Be brief.", "What is a llama?", "A camelid.", "Smaller.",
        "Llama 2 7B Chat · Q4_K_M", "llama-2-7b-chat:Q4_K_M", SHA, "temperature 0.6", "seed 42",
        "tokens_per_second 41.2", "prompt_tokens 20", "reused_tokens 8", "n_ctx 4096",
        "Llamas were discussed", "pinned", "Animals/Camelids", "summarise",
        "3 messages stand on other branches",
    ):  # fmt: skip
        assert words in plain, words
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d", plain)
    assert "vicuña" not in plain, "that is another branch"


@pytest.mark.parametrize("format", READABLE)
def test_a_failed_and_a_cut_answer_say_so(format: Format, store: Store) -> None:
    made = store.create_conversation()
    one = store.add_user(made.id, "Hi", None)
    two = answer(store, one.id, "Half", status="stopped", stop_reason="stopped")
    three = store.add_user(made.id, "And?", two.id)
    answer(store, three.id, "", status="failed", stop_reason="error", error="The engine died")
    text = exported(store, [made.id], format)
    assert "stopped" in text and "failed: The engine died" in text


HOSTILE = (
    "<script>alert(1)</script> <img src=http://x/y> ![p](http://x/p.png) "
    "[x](javascript:alert(1)) [y](http://example.org/?q=1) \x1b]52;c;aGk=\x07 \x9b31m "
    "</div></body></style> \u2028 http://example.net/bare"
)


@pytest.mark.parametrize("format", READABLE)
def test_foreign_text_cannot_do_anything(format: Format, store: Store) -> None:
    made = store.create_conversation(title=HOSTILE, system=HOSTILE, model=HOSTILE)
    question = store.add_user(made.id, HOSTILE, None)
    answer(store, question.id, HOSTILE, model={"name": HOSTILE, "quant": HOSTILE, "x": HOSTILE})
    text = exported(store, [made.id], format)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    if format != "html":
        return
    page = Page(text)
    allowed = {
        "html", "head", "meta", "title", "style", "body", "article", "section", "h1", "h2", "dl",
        "dt", "dd", "blockquote", "div", "p", "details", "summary", "a", "br",
    }  # fmt: skip
    assert set(page.tags) <= allowed
    assert all(name in ("http-equiv", "content", "charset", "name", "lang", "dir", "class", "href",
                        "rel") for name, _ in page.attributes)  # fmt: skip
    links = [value for name, value in page.attributes if name == "href"]
    assert links and all(str(link).startswith("http") for link in links)
    assert "default-src 'none'" in text and "<script" not in text
    assert "<script>alert(1)</script>" in page.text, "but it can be read"


def test_an_answer_is_laid_out_and_a_fence_left_open_ends_with_it(store: Store) -> None:
    made = store.create_conversation(title="Code")
    question = store.add_user(made.id, "# not a heading of the page", None)
    text = "Use **this**:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint('x')"
    answer(store, question.id, text)
    page = exported(store, [made.id], "html")
    assert "<strong>this</strong>" in page and "<td>1</td>" in page
    assert "# not a heading" in Page(page).text
    markdown = exported(store, [made.id], "markdown")
    tokens = MarkdownIt().parse(markdown)
    code = [token.content for token in tokens if token.type == "fence"]
    assert code == ["print('x')\n"]
    assert "\tindented" not in markdown


def test_scripts_from_the_right_and_tabs_stay(store: Store) -> None:
    made = store.create_conversation(title="עברית")
    question = store.add_user(made.id, "all:\n\tgcc\u200f שלום", None)
    answer(store, question.id, "ok")
    for format in READABLE:
        assert "\tgcc\u200f שלום" in exported(store, [made.id], format)


def test_several_in_one_file_and_a_file_each(store: Store, tmp_path: Path) -> None:
    ids = [grown(store), grown(store)]
    done = export_file(store, ids, "html", tmp_path / "all.html", now=NOW)
    assert len(done.conversations) == 2 and done.bytes == (tmp_path / "all.html").stat().st_size
    assert (tmp_path / "all.html").read_text().count("<article>") == 2
    for format, ending in ENDINGS.items():
        made = export_folder(store, ids, format, tmp_path / "new" / format, now=NOW)
        names = [one.path.name for one in made]
        assert names == [f"{id}-llama-vs-alpaca{ending}" for id in ids]
    value = json.loads((tmp_path / "new/json/1-llama-vs-alpaca.json").read_text())
    assert len(value) == 1 and value[0]["format"] == "corral-conversation"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("../../etc/passwd", "7-etc-passwd.md"),
        ("", "7.md"),
        ("\x1b[2J\u202e/\\:*?", "7-2j.md"),
        ("Ñandú & 羊驼", "7-ñandú-羊驼.md"),
        ("羊" * 200, "7-" + "羊" * 20 + ".md"),
    ],
)
def test_a_title_makes_a_name_that_every_file_system_takes(title: str, name: str) -> None:
    from corral.chat.conversation import Conversation

    assert file_name(Conversation(7, title, 0.0, 0.0), "markdown") == name


def test_formats_by_name_and_by_ending() -> None:
    assert [exporting.format_named(name) for name in ("MD", ".htm", "txt", "json")] == [
        "markdown", "html", "text", "json",
    ]  # fmt: skip
    assert exporting.format_of(Path("a.html")) == "html"
    assert exporting.format_of(Path("a.pdf")) is None
    with pytest.raises(UsageError):
        exporting.format_named("pdf")


# --- files ----------------------------------------------------------------------------------------


def test_what_is_there_stays_until_the_new_file_is_whole(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o640)
    id = grown(store)
    with pytest.raises(NotFound):
        export_file(store, [id, 99], "json", path, now=NOW)
    assert path.read_text() == "old"
    with pytest.raises(Cancellation):
        export_file(store, [id], "json", path, now=NOW, cancelled=lambda: True)
    with pytest.raises(Refused):
        export_file(store, [id], "json", path, now=NOW, replace=False)
    assert path.read_text() == "old" and [p.name for p in tmp_path.glob(".corral*")] == []
    export_file(store, [id], "json", path, now=NOW)
    assert json.loads(path.read_text()) and stat.S_IMODE(path.stat().st_mode) == 0o640
    export_file(store, [id], "json", tmp_path / "b.json", now=NOW, replace=False)
    assert stat.S_IMODE((tmp_path / "b.json").stat().st_mode) == 0o600


def test_places_that_cannot_be_written_to_are_named(store: Store, tmp_path: Path) -> None:
    id = grown(store)
    with pytest.raises(NotFound, match="no folder"):
        export_file(store, [id], "json", tmp_path / "nowhere" / "a.json", now=NOW)
    with pytest.raises(Refused, match="is a folder"):
        export_file(store, [id], "json", tmp_path, now=NOW)
    target = tmp_path / "real.md"
    target.write_text("old")
    (tmp_path / "link.md").symlink_to(target)
    export_file(store, [id], "markdown", tmp_path / "link.md", now=NOW)
    assert (tmp_path / "link.md").is_symlink() and "camelid" in target.read_text()
    export_file(store, [id], "markdown", Path("/dev/null"), now=NOW)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


_FULL = """
import pathlib, resource, signal, sys
from corral.errors import DoesNotFit
from corral.moving.exporting import export_file
from corral.store.store import Store
store = Store.open(pathlib.Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    export_file(store, [1], sys.argv[3], pathlib.Path(sys.argv[2]), now=1.0)
except DoesNotFit as error:
    print(error.title)
"""


@pytest.mark.parametrize("format", ["json", "html"])
def test_a_disk_that_fills_up_leaves_the_old_file_whole(format: str, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "h.db")
    made = store.create_conversation(title="Large")
    answer(store, store.add_user(made.id, "x" * 300_000, None).id, "y" * 300_000)
    store.close()
    target = tmp_path / "out"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "h.db"), str(target), format],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "The disk is full", done.stderr
    assert target.read_text() == "old" and not list(tmp_path.glob(".corral*"))
    assert resource.RLIM_INFINITY


def test_every_error_of_the_disk_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFit), whole_file(tmp_path / "a") as file:
        file.write(b"x")
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_progress_counts_conversations(store: Store, tmp_path: Path) -> None:
    ids = [grown(store) for _ in range(3)]
    seen: list[tuple[int, int]] = []
    note: Callable[[int, int], None] = lambda done, total: seen.append((done, total))  # noqa: E731
    export_file(store, ids, "text", tmp_path / "a.txt", now=NOW, progress=note)
    assert seen == [(1, 3), (2, 3), (3, 3)]
