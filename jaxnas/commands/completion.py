"""`jaxnas completion`: what makes a shell complete commands, options and what these may be."""

import importlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, cast, get_type_hints

import tyro

from jaxnas.cli import frame
from jaxnas.cli.common import SWITCHES, Common
from jaxnas.cli.help_text import choices, flat, texts
from jaxnas.cli.main import COMMANDS, HELP
from jaxnas.scorers.registry import DEFAULTS
from jaxnas.search.methods import METHODS
from jaxnas.spaces import SPACES

NAMES: Mapping[str, Sequence[str]] = {  # what options may be that are not one of a few words
    "--space": [*SPACES],
    "--scorers": [*DEFAULTS],
    "--by": [*DEFAULTS],
    "--method": [*METHODS],
}
FLAGS = [*SWITCHES, "--config", "--help"]


@dataclass(frozen=True)
class Completion:
    """Print what makes a shell complete the words of jaxnas.

    bash: eval "$(jaxnas completion bash)" in ~/.bashrc.

    zsh: the same with zsh in ~/.zshrc, after compinit.

    fish: jaxnas completion fish > ~/.config/fish/completions/jaxnas.fish
    """

    shell: tyro.conf.Positional[Annotated[Literal["bash", "zsh", "fish"], tyro.conf.arg(metavar="SHELL")]]
    """`bash`, `zsh` or `fish`."""


class Program(NamedTuple):
    """A command, or a verb of `tables`.

    Attributes:
      words: `score`, or `tables build`.
      options: what each option is for, by its long name.
      values: what an option may be, of those that are one of a few words.
    """

    words: str
    options: dict[str, str]
    values: dict[str, Sequence[str]]


def completion(config: Completion) -> None:
    """Run the command."""
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[config.shell](programs()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Completion, completion, argv, prog="jaxnas completion")


def programs() -> list[Program]:
    """All that can be run, with their options."""
    with frame.collecting() as found:
        for command in COMMANDS.values():
            module = importlib.import_module(f"jaxnas.{command.module}")
            for verb in getattr(module, "VERBS", [None]):
                module.main([] if verb is None else [verb])
    return [_program(prog.removeprefix("jaxnas "), of) for prog, of in found.items()]


def _program(words: str, of: type[Any]) -> Program:
    said = _said(of) | _said(Common)
    options = {option: said.get(option, "") for option, _ in (*flat(of), *flat(Common))}
    known: dict[str, Sequence[str]] = {**choices(of)}
    return Program(words, options, known | {name: NAMES[name] for name in options if name in NAMES})


def _said(of: type[Any], prefix: str = "--") -> dict[str, str]:
    """The first sentence about each option, by its long name."""
    found = {}
    for name, text in texts(of).items():
        found[prefix + name.replace("_", "-")] = text.replace("\n", " ").partition(". ")[0].rstrip(".")
    for name, hint in get_type_hints(of).items():
        if is_dataclass(hint):
            found |= _said(cast(type[Any], hint), f"{prefix}{name.replace('_', '-')}.")
    return found


def _bash(every: Sequence[Program]) -> str:
    return f"""_jaxnas() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} words=
  if [ "$COMP_CWORD" = 1 ] || {{ [ "$COMP_CWORD" = 2 ] && [ "$command" = {HELP} ]; }}; then
    words="{_words([*COMMANDS, HELP])}"
  elif [ "$COMP_CWORD" = 2 ] && [ "$command" = tables ]; then
    words="{_verbs(every)}"
  else
    [ "$command" = tables ] && command="tables ${{COMP_WORDS[2]}}"
    case "$command $prev" in
{_cases(every, lambda option, values: f'words="{_words(values)}"')}
    esac
    if [ -z "$words" ] && [[ "$cur" == -* ]]; then
      case "$command" in
{_of_programs(every, lambda program: f'words="{_words([*program.options, *FLAGS])}"')}
      esac
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _jaxnas jaxnas"""


def _zsh(every: Sequence[Program]) -> str:
    commands = " ".join(shlex.quote(f"{name}:{command.does}") for name, command in COMMANDS.items())
    return f"""#compdef jaxnas
_jaxnas() {{
  local command=$words[2] previous=$words[CURRENT-1]
  local -a all
  all=({commands} {shlex.quote(f"{HELP}:list the commands, or the options of one")})
  if (( CURRENT == 2 )) || {{ (( CURRENT == 3 )) && [[ $command == {HELP} ]] }}; then _describe command all; return; fi
  if (( CURRENT == 3 )) && [[ $command == tables ]]; then compadd -- {_verbs(every)}; return; fi
  [[ $command == tables ]] && command="tables $words[3]"
  case "$command $previous" in
{_cases(every, lambda option, values: f"compadd -- {_words(values)}; return")}
  esac
  if [[ $PREFIX != -* ]]; then _files; return; fi
  case "$command" in
{_of_programs(every, lambda program: f"compadd -- {_words([*program.options, *FLAGS])}")}
  esac
}}
compdef _jaxnas jaxnas"""


def _fish(every: Sequence[Program]) -> str:
    lines = [
        f"complete -c jaxnas -n __fish_use_subcommand -f -a {name} -d {shlex.quote(command.does)}"
        for name, command in COMMANDS.items()
    ]
    lines.append(f"complete -c jaxnas -n '__fish_seen_subcommand_from tables' -f -a '{_verbs(every)}'")
    for program in every:
        seen = " ; and ".join(f"__fish_seen_subcommand_from {word}" for word in program.words.split())
        for option, text in program.options.items():
            line = f"complete -c jaxnas -n '{seen}' -l {option.removeprefix('--')} -d {_quoted(text)}"
            values = program.values.get(option)
            lines.append(f"{line} -x -a '{_words(values)}'" if values else line)
    return "\n".join(lines)


def _cases(every: Sequence[Program], then: Any) -> str:
    """A line of `case` for each option that is one of a few words."""
    alike: dict[str, list[str]] = {}
    for program in every:
        for option, values in program.values.items():
            alike.setdefault(then(option, values), []).append(f'"{program.words} {option}"')
    return "\n".join(f"      {'|'.join(patterns)}) {line};;" for line, patterns in alike.items())


def _of_programs(every: Sequence[Program], then: Any) -> str:
    return "\n".join(f'        "{program.words}") {then(program)};;' for program in every)


def _verbs(every: Sequence[Program]) -> str:
    """The verbs of `tables`."""
    parts = [program.words.split() for program in every]
    return _words(part[1] for part in parts if len(part) == 2)


def _words(values: Any) -> str:
    return " ".join(values)


def _quoted(text: str) -> str:
    """The text as fish quotes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
