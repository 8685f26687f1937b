"""The rules of the source tree: levels, formatting, sizes, names, stubs, snippets of pages."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LONGEST
from tests.cpp_functions import Function, functions

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
    theirs += ("avx512vnni.cpp", "avx2.cpp", "gelu_avx2.cpp", "avx2_lanes.h", "int8_avx2.cpp")
    theirs += ("avxvnni.cpp", "tiles_avx2.h")
    wrong = [
        str(f)
        for f in CODE
        if "src" in f.parts and "immintrin.h" in f.read_text() and f.name not in theirs
    ]
    assert not wrong


def test_row_implementations_do_not_see_their_interface():
    """A table that lacked a function would take the interface's, which calls the table for ever."""
    rows = ROOT / "src" / "kernels" / "rows"
    seeing = {f.name for f in rows.iterdir() if '"kernels/rows/op.h"' in f.read_text()}
    assert seeing == {"op.cpp"}


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


def cpp_functions():
    for f in CODE:
        if f.suffix in (".cpp", ".h"):
            for function in functions(f.read_text()):
                yield f.relative_to(ROOT), function


def test_no_cpp_function_is_longer_than_80_lines():
    assert not [
        f"{f}:{function.line}: {function.name} has {function.body_lines} lines"
        for f, function in cpp_functions()
        if function.body_lines > 80
    ]


def test_no_cpp_function_has_more_than_8_parameters():
    """What belongs together is a struct, or a view such as Rows (core/rows.h)."""
    assert not [
        f"{f}:{function.line}: {function.name} has {function.parameters} parameters"
        for f, function in cpp_functions()
        if f.parts[0] == "src" and function.parameters > 8
    ]


def test_cpp_functions_are_found():
    text = """
    template <class T, int N>
    struct Left : Base<T, N> {
        Left(int64_t m, std::vector<int> k = {1, 2}) noexcept : m_(m), k_{k}, n_(f(k)) {
            // one { bracket
        }
        bool operator()(std::map<int, char> a, void (*f)(int, int)) const override {
            const char* text = "}";
            if (a.empty()) {
                for (int i = 0; i < 1'000; ++i) { f(i, '{'); }
            }
            return [&](int i, auto&&... rest) mutable -> bool {
                return i > 0;
            }(3);
        }
        std::array<int, 3> data{1, 2, 3};
    };
    static const Table table{[] { return 1; }, {2}};
    void declared(int a, int b);
    """
    found = functions(text)
    assert found == [
        Function("Left", 4, 2, 1),
        Function("lambda", 12, 2, 1),
        Function("operator()", 7, 2, 7),
        Function("lambda", 18, 0, 0),
    ]


def test_no_python_function_is_longer_than_60_lines():
    """Signature and docstring aside."""
    long = []
    for f in CODE:
        path = f.relative_to(ROOT)
        if f.suffix != ".py" or path.parts[0] == "tests":
            continue
        for node in ast.walk(ast.parse(f.read_text())):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if lines > 60:
                long.append(f"{path}:{node.lineno}: {node.name} has {lines} lines")
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


def test_markdown_is_at_most_120_columns_wide():
    """This holds for prose. Tables, code blocks and lines of nothing but a link may be wider."""
    wide = []
    for f in FILES:
        if f.suffix != ".md":
            continue
        in_code = False
        for number, line in enumerate(f.read_text().split("\n"), 1):
            in_code ^= line.lstrip().startswith("```")
            bare_link = re.fullmatch(r"\s*([-*] )?(https?://\S+|!?\[[^]]*\]\(\S+\))", line)
            if len(line) > 120 and not (in_code or line.lstrip().startswith("|") or bare_link):
                wide.append(f"{f.relative_to(ROOT)}:{number}: {len(line)} columns")
    assert not wide


def test_files_of_tests_that_begin_first_exist():
    assert all((ROOT / "tests" / name).exists() for name in LONGEST)


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_snippets_of_pages_run(page, tmp_path):
    """A page's snippets run from top to bottom as one program, in a folder of their own."""
    lines, in_python, found = [], False, 0
    for line in page.read_text().split("\n"):  # line numbers stay those of the page
        if line.startswith("```"):
            in_python = line == "```python"
            found += in_python
            line = ""
        lines.append(line if in_python else "")
    assert found or page.stem in ("index", "serve_services")  # the latter runs a server
    program = tmp_path / f"{page.stem}.md.py"
    program.write_text("\n".join(lines))
    subprocess.run([sys.executable, program], cwd=tmp_path, check=True, timeout=120)


def test_figures_of_pages_are_the_results():
    """Those of README.md and docs/speed.md; `python -m benchmarks.report` writes them."""
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


def test_families_are_complete():
    """The table of families in src/README.md: every file in it exists, every family has a row, and
    its types are those that factory.cpp knows."""
    section = (ROOT / "src/README.md").read_text().split("## A model family")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.M)
    families = {
        name: [re.findall(r"`([^`]+)`", cell) for cell in cells.split(" | ")]
        for name, cells in rows
    }
    loading = {
        f.parent.name
        for f in FILES
        if f.match("src/models/*/*.h")
        and re.search(r"^std::unique_ptr<\w+> load\(", f.read_text(), re.M)
    }
    assert set(families) == loading
    factory = (ROOT / "src/models/factory.cpp").read_text()
    for name, (types, plain, converter, weights, parity) in families.items():
        assert f"{name}::load" in factory and all(f'"{t}"' in factory for t in types)
        for path in (*plain, *converter, *weights, *parity):
            assert (ROOT / path).exists(), path
        assert plain[0].startswith(f"src/models/{name}/") and weights and parity
        if name != "owlv2":
            from segrid.convert import FAMILIES

            assert f"segrid.convert.{name}" in {f.__name__ for f in FAMILIES}
