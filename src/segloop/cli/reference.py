"""The command reference as Markdown, from the parsers themselves, so that it cannot drift from them."""

from __future__ import annotations

import argparse

from segloop.cli.main import VERBS, build_parser

_HEAD = """# Commands

Written by `python -m segloop.cli.reference` from the command line's own parsers; a test compares.
Every verb takes `--json`: one machine-readable document on standard output, errors included.
Exit status: 0 done, 2 input or usage, 3 plan, 4 model, 5 privacy, 6 service or peer, 130 interrupted, 1 a bug.
"""


def commands_markdown() -> str:
    """Every verb with its arguments and options, in the order of `segloop --help`."""
    parser = build_parser(tuple(VERBS))
    choices = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    parts = [_HEAD]
    for verb, purpose in VERBS.items():
        parts.append(
            f"\n## segloop {verb}\n\n{purpose[0].upper()}{purpose[1:]}.\n\n| argument | meaning |\n|---|---|\n"
        )
        parts += [f"| {_name(a)} | {_meaning(a)} |\n" for a in choices[verb]._actions if a.dest != "help"]
    return "".join(parts)


def _name(action: argparse.Action) -> str:
    value = action.metavar or ("\\|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return f"`{value}`".replace("\\|", "` or `")
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
    return flags if action.nargs == 0 else f"{flags} `{value}`".replace("\\|", "` or `")


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "").replace("|", "\\|").replace("%%", "%")
    return text + (" (required)" if action.required and action.option_strings else "")


if __name__ == "__main__":
    import sys

    sys.stdout.write(commands_markdown())
