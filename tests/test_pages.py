"""What the pages say of the repository is there: links, commands and their options."""

import argparse
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from segrid.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if (ROOT / name).exists() and not name.endswith("card.md")  # templates of pages elsewhere
]


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page):
    """(language, text) of each block of code of a page."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.M | re.S)


def shell_lines(page):
    """The lines of a page's shell blocks; a line that ends in a backslash goes on in the next."""
    for language, text in blocks(page):
        if language == "sh":
            yield from text.replace("\\\n", " ").splitlines()


def module_calls(page):
    """[module, its arguments...] of each `python -m` of ours, in shell blocks and in tables."""
    cells = re.findall(r"`(python -m benchmarks\.run [^`]*)` \|", page.read_text())
    for line in [*shell_lines(page), *cells]:
        words = without_environment(shlex.split(line, comments=True))
        if len(words) > 2 and Path(words[0]).name == "python" and words[1] == "-m":
            if words[2].partition(".")[0] in ("benchmarks", "training"):
                yield words[2:]


def without_environment(words):
    """The words of a command behind its `NAME=value`."""
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    return words


def anchor(heading):
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        file, _, part = target.partition("#")
        to = (page.parent / file).resolve() if file else page
        assert to.exists(), target
        if part:
            headings = re.findall(r"^#+ (.*)$", to.read_text(), re.M)
            assert part in map(anchor, headings), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_have_the_options_that_pages_give_them(page):
    """Every `segrid ...` in a shell block is parsed as the command line parses it; none runs."""
    commands = typer.main.get_command(app)
    for line in shell_lines(page):
        words = without_environment(shlex.split(line, comments=True))
        if words[:1] == ["segrid"]:
            commands.commands[words[1]].make_context(words[1], words[2:])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_of_code_name_their_language(page):
    """The commands of a block without a language would not be checked."""
    assert all(language for language, _ in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets_of_make_are_there(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for line in shell_lines(page):
        words = without_environment(shlex.split(line, comments=True))
        if words[:1] == ["make"]:
            assert words[1] in targets, line


class Parsed(Exception):
    """The options of a command are good; it would run now."""


def parse(monkeypatch, module, *arguments):
    """Starts the module as `python -m` does, up to the point where its options are parsed."""
    only = argparse.ArgumentParser.parse_args

    def parsed(self, words=None):
        options = only(self, words)
        if words is None:  # those of the command line
            raise Parsed
        return options

    with monkeypatch.context() as patch, pytest.raises((Parsed, SystemExit)) as ended:
        patch.setattr(argparse.ArgumentParser, "parse_args", parsed)
        patch.setattr(sys, "argv", [module, *arguments])
        runpy.run_module(module, run_name="__main__")
    helped = "--help" in arguments and ended.value.code == 0
    assert helped or ended.type is Parsed, [module, *arguments]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("page", [p for p in PAGES if any(module_calls(p))], ids=name)
def test_modules_have_the_options_that_pages_give_them(page, monkeypatch):
    for module, *arguments in module_calls(page):
        if module == "benchmarks.report":  # It has one option, which it looks for itself.
            assert set(arguments) <= {"--check"}
        else:
            parse(monkeypatch, module, *arguments)
