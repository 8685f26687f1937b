"""The rules of the source tree: levels, formatting, sizes, names, stubs, snippets of pages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    ROOT / f
    for f in subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    if f and (ROOT / f).exists()
]
CODE = [f for f in FILES if f.suffix in (".cpp", ".h", ".cu", ".py", ".pyi")]


def levels():
    table = (ROOT / "src/README.md").read_text()
    return {name: int(level) for level, name in re.findall(r"^\| (\d) \| `(\w+)/` \|", table, re.M)}


def test_the_table_names_every_folder():
    folders = {p.name for p in (ROOT / "src").iterdir() if p.is_dir()}
    assert set(levels()) == folders


def test_files_include_only_lower_levels():
    level = levels()
    wrong = []
    for f in CODE:
        parts = f.relative_to(ROOT).parts
        if parts[0] != "src" or len(parts) < 3:
            continue
        for folder in re.findall(r'#include "(\w+)/', f.read_text()):
            if folder != parts[1] and level[folder] >= level[parts[1]]:
                wrong.append(f"{f}: includes {folder}/")
    assert not wrong


def test_intrinsics_only_in_their_files():
    theirs = ("avx512.cpp", "gelu_avx512.cpp", "avx512_lanes.h", "avx512bf16.cpp")
    theirs += ("avx512vnni.cpp", "avx2.cpp")
    wrong = [
        str(f)
        for f in CODE
        if "src" in f.parts and "immintrin.h" in f.read_text() and f.name not in theirs
    ]
    assert not wrong


def test_only_bindings_know_python():
    wrong = [
        str(f)
        for f in CODE
        if "src" in f.parts
        and "bindings" not in f.parts
        and re.search(r"pybind11|Python\.h", f.read_text())
    ]
    assert not wrong


PYTHON = ["python", "tests", "benchmarks", "scripts", "training"]


def test_python_is_formatted():
    """`make format` formats the code."""
    subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", "--diff", *PYTHON], cwd=ROOT, check=True
    )


def test_cpp_is_formatted():
    """`make format` formats the code."""
    files = [str(f) for f in CODE if f.suffix in (".cpp", ".h")]
    tool = Path(sys.executable).with_name("clang-format")
    subprocess.run([tool, "--dry-run", "-Werror", *files], cwd=ROOT, check=True)


def test_types():
    subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, check=True)


def test_no_file_is_longer_than_400_lines():
    long = {
        str(f.relative_to(ROOT)): n
        for f in CODE
        if (n := f.read_text().count("\n")) > 400 and f.suffix != ".pyi"
    }
    assert not long


def test_no_names_that_say_nothing():
    assert not [
        f
        for f in CODE
        if re.search(r"(^|/)(utils?|common|helpers?|misc)(\.|/)", str(f.relative_to(ROOT)))
        and "compat" not in f.parts
    ]


def test_stubs_are_up_to_date(tmp_path):
    made = tmp_path / "_core.pyi"
    subprocess.run([sys.executable, str(ROOT / "scripts/make_stubs.py"), str(made)], check=True)
    assert made.read_text() == (ROOT / "python/segrid/_core.pyi").read_text(), "run: make stubs"


@pytest.mark.parametrize("number", range(2))
def test_readme_snippets_run(number):
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(snippets) == 2
    exec(compile(snippets[number], "README.md", "exec"), {})


def test_readme_figures_are_the_results():
    subprocess.run([sys.executable, "-m", "benchmarks.report", "--check"], cwd=ROOT, check=True)


def test_pages_that_are_named_exist():
    """Sources, comments and pages name no page that the repository does not hold. Strings of tests
    are left out: tests write pages of their own."""
    import ast
    import io
    import tokenize

    written = {"report.md"}  # by `segrid tune`
    pages = {f.name for f in FILES if f.suffix == ".md"} | written

    def comments(source):
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        yield from (t.string for t in tokens if t.type == tokenize.COMMENT)
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        parts = (n for n in ast.walk(ast.parse(source)) if isinstance(n, kinds))
        yield from (ast.get_docstring(n) or "" for n in parts)

    wrong = []
    for f in FILES:
        if f.suffix not in (".py", ".pyi", ".cpp", ".h", ".md", ".txt", ".toml", ".sh", ".ipynb"):
            continue
        text, name = f.read_text(), f.relative_to(ROOT)
        if name.parts[0] == "tests" and f.suffix == ".py":
            text = "\n".join(comments(text))
        named = {Path(page).name for page in re.findall(r"[\w./-]+\.md\b", text)}
        wrong += [f"{name}: {page}" for page in sorted(named - pages)]
    assert not wrong


def test_rows_of_bad_inputs_have_tests():
    """tests/README.md has a row for each `test_row_N_...`, and the tests that it names exist."""
    page = (ROOT / "tests/README.md").read_text()
    rows = {int(row) for row in re.findall(r"^\| (\d+) \|", page, re.M)}
    tests = "\n".join(f.read_text() for f in FILES if f.match("tests/*/test_*.py"))
    named = re.findall(r"def test_rows?_(\d+)(?:_(?:and_)?(\d+)_)?", tests)
    shown = {int(n) for pair in named for n in pair if n}
    assert shown <= rows and rows - shown == {38, 56, 57}
    missing = [t for t in re.findall(r"::(test_\w+)", page) if f"def {t}(" not in tests]
    assert not missing


def test_benchmark_problems_are_complete():
    """`benchmarks.run --help` has a line for each module of benchmarks/problems, and each has the
    functions that run.py calls."""
    from importlib import import_module

    shown = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    modules = [f.stem for f in FILES if f.match("benchmarks/problems/*.py")]
    modules.remove("__init__")
    assert len(modules) >= 7
    for name in modules:
        problem = import_module(f"benchmarks.problems.{name}")
        assert problem.__doc__.partition("\n")[0] in " ".join(shown.split()), name
        for function in ("add_arguments", "measure", "compare", "summarise"):
            assert callable(getattr(problem, function)), (name, function)
