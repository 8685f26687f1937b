"""What the pages say of the repository is there: links, commands and their options."""

import re
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


def shell_lines(page):
    """The lines of a page's shell blocks; a line that ends in a backslash goes on in the next."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S):
        yield from block.replace("\\\n", " ").splitlines()


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
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # the environment
            del words[0]
        if words[:1] == ["segrid"]:
            commands.commands[words[1]].make_context(words[1], words[2:])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets_of_make_and_modules_are_there(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert words[1] in targets, line
        for module in re.findall(r"python -m ((?:benchmarks|training)[\w.]*)", line):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), line


def test_benchmarks_have_the_options_that_pages_give_them():
    """Every problem that a page runs is one that `benchmarks.run` knows."""
    named = {
        words[3]
        for page in PAGES
        for line in shell_lines(page)
        if (words := shlex.split(line, comments=True))[:3] == ["python", "-m", "benchmarks.run"]
    }
    help_text = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert named and all(re.search(rf"\b{problem}\b", help_text) for problem in named)
