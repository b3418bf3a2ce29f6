"""Completion scripts for bash, zsh and fish, written from the command tree.

They hold the words themselves: a Tab starts no Python, and what a script offers is what the version
that wrote it knows. File names are completed where a file is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from corral.cli.tree import Command, Option

_FILES = ("file", "folder")


def bash(root: Command) -> str:
    """For bash 3.2 and later: one function that looks up where in the tree the words stand."""
    lines = [
        *_head("bash"),
        "_corral() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="" path="" words="" values="" i',
        "    COMPREPLY=()",
        '    [ "$COMP_CWORD" -gt 0 ] && before="${COMP_WORDS[COMP_CWORD-1]}"',
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        '        case "$path ${COMP_WORDS[i]}" in',
    ]
    for command in _below(root):
        words = " ".join(command.path)
        parent = " ".join(command.path[:-1])
        lines.append(f'            "{_joined(parent, command.path[-1])}") path="{words}" ;;')
    lines += ["        esac", "    done", '    case "$path $before" in']
    for command in root.all():
        for option in command.options:
            if option.takes == "nothing":
                continue
            keys = "|".join(f'"{_joined(" ".join(command.path), name)}"' for name in option.names)
            lines.append(f"        {keys}) {_bash_values(option)} ;;")
    lines += ["    esac", '    case "$path" in']
    for command in root.all():
        names = [name for option in command.options for name in option.names]
        names += [child.path[-1] for child in command.children]
        names += [choice for argument in command.arguments for choice in argument.choices]
        files = any(argument.takes in _FILES for argument in command.arguments)
        fill = f' && values="{_FILE_WORD}"' if files else ""
        lines.append(f'        "{" ".join(command.path)}") words="{" ".join(names)}"{fill} ;;')
    lines += [
        "    esac",
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
        f'    if [ "$values" = "{_FILE_WORD}" ] && [ "${{word#-}}" = "$word" ]; then',
        "        compopt -o filenames 2>/dev/null",
        "        local IFS=$'\\n'  # names may have spaces",
        '        COMPREPLY+=($(compgen -f -- "$word"))',
        "    fi",
        "}",
        "complete -F _corral corral",
    ]
    return "\n".join(lines) + "\n"


_FILE_WORD = "files"


def _joined(path: str, word: str) -> str:
    """How the function names a word below a place in the tree."""
    return f"{path} {word}"


def _bash_values(option: Option) -> str:
    if option.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$word")); return'
    if option.takes in _FILES:
        flag = "-d" if option.takes == "folder" else "-f"
        return (
            "compopt -o filenames 2>/dev/null; local IFS=$'\\n'; "
            f'COMPREPLY=($(compgen {flag} -- "$word")); return'
        )
    return "return"


def zsh(root: Command) -> str:
    """For zsh's own completion system: a function a command, put into a folder of ``$fpath``."""
    lines = ["#compdef corral", *_head("zsh")]
    for command in root.all():
        lines += _zsh_function(command)
    # Called by the completion system from a file of that name, or made known when sourced.
    lines += ['if [ "$funcstack[1]" = "_corral" ]; then', '    _corral "$@"', "else"]
    lines += ["    compdef _corral corral", "fi"]
    return "\n".join(lines) + "\n"


def _zsh_function(command: Command) -> Iterator[str]:
    name = _function(command)
    yield f"{name}() {{"
    if command.children:
        yield "    local context state state_descr line"
        yield "    typeset -A opt_args"
    specs = [f"'{_zsh_option(option)}'" for option in command.options]
    if command.children:
        specs += ["'1: :->command'", "'*:: :->rest'"]
    else:
        for argument in command.arguments:
            place = "*" if "..." in argument.metavar else ""
            specs.append(f"'{place}:{_zsh_text(argument.metavar)}:{_zsh_values(argument)}'")
    flags = "-C -s" if command.children else "-s"
    yield f"    _arguments {flags} \\"
    for number, spec in enumerate(specs):
        yield f"        {spec}" + (" \\" if number < len(specs) - 1 else "")
    if command.children:
        yield '    case "$state" in'
        yield "        command)"
        yield "            local -a commands=("
        for child in command.children:
            yield f"                '{child.path[-1]}:{_zsh_text(child.text)}'"
        yield "            )"
        yield "            _describe command commands ;;"
        yield "        rest)"
        yield '            case "$line[1]" in'
        for child in command.children:
            yield f"                {child.path[-1]}) {_function(child)} ;;"
        yield "            esac ;;"
        yield "    esac"
    yield "}"


def _zsh_option(option: Option) -> str:
    names = ",".join(option.names)
    several = "*" if option.again else f"({' '.join(option.names)})"
    shown = f"{{{names}}}" if len(option.names) > 1 else option.names[0]
    value = (
        "" if option.takes == "nothing" else f":{_zsh_text(option.metavar)}:{_zsh_values(option)}"
    )
    # Braces are the shell's own: they stand outside of the quotes.
    outside = f"'{shown}'" if len(option.names) > 1 else shown
    return f"{several}{outside}[{_zsh_text(option.text)}]{value}"


def _zsh_values(one: Option | object) -> str:
    choices: tuple[str, ...] = getattr(one, "choices", ())
    if choices:
        return f"({' '.join(choices)})"
    return {"file": "_files", "folder": "_files -/"}.get(getattr(one, "takes", ""), " ")


def _zsh_text(text: str) -> str:
    """Within single quotes, brackets and colons: what would end one of them."""
    plain = text.replace("\\", "\\\\").replace("'", "’")
    for sign in ":[]":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def fish(root: Command) -> str:
    """For fish: conditions by what was typed before."""
    lines = _head("fish")
    lines += [
        "function __corral_at",
        "    # Whether the words before the cursor, without options, begin with these and, of what",
        "    # has subcommands, name none of them yet.",
        "    set -l typed (commandline -opc)[2..]",
        "    set -l words (string match -v -- '-*' $typed)",
        "    set -l wanted (string split ' ' -- $argv[1])",
        '    test -z "$argv[1]"; and set wanted',
        "    for i in (seq (count $wanted))",
        '        test "$words[$i]" = "$wanted[$i]"; or return 1',
        "    end",
        "    set -l next (math (count $wanted) + 1)",
        '    not contains -- "$words[$next]" $argv[2..]',
        "end",
        "complete -c corral -f",
    ]
    for command in root.all():
        children = [child.path[-1] for child in command.children]
        at = _fish_quoted(" ".join([f"__corral_at '{' '.join(command.path)}'", *children]))
        begin = f"complete -c corral -n {at}"
        for child in command.children:
            lines.append(f"{begin} -a {child.path[-1]} -d {_fish_quoted(child.text)}")
        lines += [f"{begin} {_fish_option(option)}" for option in command.options]
        if any(argument.takes in _FILES for argument in command.arguments):
            lines.append(f"{begin} -F")
        choices = [choice for argument in command.arguments for choice in argument.choices]
        if choices:
            lines.append(f"{begin} -a {_fish_quoted(' '.join(choices))}")
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    words = []
    for name in option.names:
        long = name.startswith("--")
        words += ["-l" if long else "-s", name.lstrip("-")]
    if option.choices:
        words += ["-x", "-a", _fish_quoted(" ".join(option.choices))]
    elif option.takes in _FILES:
        words += ["-r", "-F"]
    elif option.takes != "nothing":
        words.append("-x")
    if option.text:
        words += ["-d", _fish_quoted(option.text)]
    return " ".join(words)


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _head(shell: str) -> list[str]:
    return [f"# Completion of corral for {shell}: written by `corral completion {shell}`."]


def _below(root: Command) -> Iterator[Command]:
    return (command for command in root.all() if command.path)


def _function(command: Command) -> str:
    return "_".join(("_corral", *command.path))


SHELLS: dict[str, Callable[[Command], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
