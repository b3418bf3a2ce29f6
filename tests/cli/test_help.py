"""``corral --help`` needs no other page, and the completions offer what there is."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import Corral

from corral import errors
from corral.cli import manual
from corral.cli.shells import SHELLS
from corral.cli.tree import Command, whole

SOURCE = Path(errors.__file__).parent
TREE = whole()
UNTOLD = {
    "TRANSFORMERS_OFFLINE", "HF_HOME", "HF_TOKEN_PATH", "XDG_CACHE_HOME", "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS",  # honoured as their own programs do
    "OMP_WAIT_POLICY", "TERM_PROGRAM", "PROCESSOR_IDENTIFIER",  # set by others, not by people
    "DISPLAY", "WAYLAND_DISPLAY", "MSYSTEM",
}  # fmt: skip


def at(*path: str) -> Command:
    return next(command for command in TREE.all() if command.path == path)


def test_the_help_names_every_command(corral: Corral) -> None:
    page = corral("--help").out
    words = set(re.findall(r"[a-z]+", page))
    assert set(manual.commands()) == {child.path[0] for child in TREE.children}
    for command in TREE.all():
        if len(command.path) in (1, 2):
            assert command.path[-1] in words, command.path
            assert command.text and command.help, command.path


def test_the_help_names_every_variable_that_is_read(corral: Corral) -> None:
    page = corral("--help").out
    read = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "get"
                and ast.unparse(node.func.value).endswith(("environment", "environ"))
                and isinstance(node.args[0], ast.Constant)
            ):
                read.add(str(node.args[0].value))
    assert {"CORRAL_HOME", "HF_TOKEN", "TERM"} <= read
    for name in read - UNTOLD | {"CORRAL_OFFLINE"}:
        assert name in page, name


def test_the_help_names_every_exit_code(corral: Corral) -> None:
    kinds: list[type[errors.CorralError]] = [
        errors.CorralError,
        *errors.CorralError.__subclasses__(),
    ]
    told = {int(line.term) for line in manual.EXIT_CODES}
    assert {kind.exit_code for kind in kinds} | {0, 130} == told
    page = corral("--help").out.split("Exit codes:")[1]
    for line in manual.EXIT_CODES:
        assert re.search(rf"^  {line.term} +{re.escape(line.text)}$", page, re.MULTILINE)


def test_the_help_names_the_folders_of_this_machine(corral: Corral, private_home: Path) -> None:
    page = "".join(corral("--help").out.split())
    for place in ("data/corral.db", "config/config.toml", "logs"):
        assert str(private_home / place) in page


def test_the_examples_are_commands_that_exist() -> None:
    for line in manual.EXAMPLES:
        words = line.term.rpartition("| ")[2].replace('"', " ").split()
        assert words[0] == "corral"
        command = TREE
        for word in words[1:]:
            child = next((one for one in command.children if one.path[-1] == word), None)
            if child is None:
                break
            command = child
        known = {name for option in command.options for name in option.names}
        assert {word for word in words if word.startswith("-")} <= known, line


def test_the_help_fits_a_narrow_window(corral: Corral, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("CORRAL_HOME", "/short")
    assert max(len(line) for line in corral("--help").out.splitlines()) <= 80


# --- completions ----------------------------------------------------------------------------------


def bash(*words: str, folder: Path | None = None) -> list[str]:
    """What bash's own completion would offer for the last word."""
    program = (
        f"{SHELLS['bash'](TREE)}\n"
        "complete -p corral >/dev/null || exit 9\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _corral\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program, "bash", *words],
        capture_output=True, text=True, check=True, cwd=folder, timeout=20,
    )  # fmt: skip
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    (tmp_path / "a model.gguf").touch()
    (tmp_path / "folder").mkdir()
    assert set(bash("corral", "")) >= {"ask", "models", "history", "--offline"}
    assert bash("corral", "mod") == ["models"]
    assert bash("corral", "--offline", "models", "pu") == ["pull"]
    assert set(bash("corral", "models", "")) >= {"list", "pull", "import"}
    assert bash("corral", "ask", "--temp") == ["--temperature"]
    assert "--temperature" not in bash("corral", "models", "pull", "--")
    assert set(bash("corral", "ask", "--rope", "")) == {"off", "linear", "yarn"}
    assert bash("corral", "ask", "-m", "") == [], "a name is free text"
    assert bash("corral", "ask", "--schema", "a", folder=tmp_path) == ["a model.gguf"]
    assert "a model.gguf" in bash("corral", "models", "import", "", folder=tmp_path)
    assert bash("corral", "completion", "f") == ["fish"]
    assert "models" not in bash("corral", "ask", "mod"), "a prompt is no command"


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not here")
def test_fish_completes_the_same(tmp_path: Path) -> None:
    script = tmp_path / "corral.fish"
    script.write_text(SHELLS["fish"](TREE))
    (tmp_path / "form.json").touch()

    def offered(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
            capture_output=True, text=True, check=True, cwd=tmp_path, timeout=20,
            env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        assert not done.stderr, done.stderr
        return [one.split("\t")[0] for one in done.stdout.splitlines()]

    assert offered("corral mod") == ["models"]
    assert offered("corral --offline models pu") == ["pull"]
    assert offered("corral ask --temp") == ["--temperature"]
    assert set(offered("corral ask --rope ")) == {"off", "linear", "yarn"}
    assert "form.json" in offered("corral ask --schema ")
    assert "ask" not in offered("corral models ")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not here")
def test_zsh_completes_the_same(tmp_path: Path) -> None:
    (tmp_path / "_corral").write_text(SHELLS["zsh"](TREE))
    subprocess.run(["zsh", "-n", str(tmp_path / "_corral")], check=True, timeout=20)

    def offered(line: str, wanted: str) -> str:
        """The screen of a real zsh after a Tab, up to the words that are waited for."""
        program = (
            "zmodload zsh/zpty; zpty shell zsh -f -i\n"
            f"zpty -w shell 'cd {tmp_path}; PS1=; fpath=({tmp_path} $fpath); "
            "autoload -Uz compinit; compinit -u -D; unsetopt auto_menu; LISTMAX=0; clear; "
            "print -r ready'\n"
            "zpty -r shell out '*ready*'\n"
            f"zpty -n -w shell '{line}'$'\\t\\t'\n"
            f"zpty -r shell out '*{wanted}*'; print -rn -- $out; zpty -d shell\n"
        )
        done = subprocess.run(
            ["zsh", "-f", "-c", program], capture_output=True, text=True, timeout=60,
            env={**os.environ, "TERM": "dumb", "HOME": str(tmp_path)},
        )  # fmt: skip
        return done.stdout

    assert "corral models" in offered("corral mod", "corral models")
    assert "pull" in offered("corral models ", "Download a model, or go on with it.")
    assert "--temperature" in offered("corral ask --temp", "--temperature")


@pytest.mark.parametrize("shell", list(SHELLS))
def test_the_command_prints_the_script(corral: Corral, shell: str) -> None:
    done = corral("completion", shell)
    assert done.code == 0 and done.out == SHELLS[shell](TREE)
    assert f"corral completion {shell}" in done.out


def test_an_unknown_shell_is_wrong_usage(corral: Corral) -> None:
    assert corral("completion", "tcsh").code == 2
