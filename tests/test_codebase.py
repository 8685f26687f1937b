"""The rules of the house: levels, sizes, names, README snippets."""

import ast
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
    """`make format` does it."""
    subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", "--diff", *PYTHON], cwd=ROOT, check=True
    )


def test_cpp_is_formatted():
    """`make format` does it."""
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


def python_imports():
    """{module: modules of the package that it imports}, with those of function bodies and without
    those for type checkers. `segrid.NAME` counts as the module that holds NAME."""
    root = ROOT / "python"
    files = {}
    for f in CODE:
        if f.suffix == ".py" and f.is_relative_to(root):
            parts = f.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = f
    faces = ast.parse(files["segrid"].read_text())
    holders = next(
        ast.literal_eval(node.value)
        for node in faces.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_WHERE"
    )

    def module_of(name):
        first, _, rest = name.partition(".")
        if first == "segrid" and rest.partition(".")[0] in holders:
            return f"segrid.{holders[rest.partition('.')[0]]}"
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    def imported(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes = node.orelse
        else:
            nodes = ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        for child in nodes:
            yield from imported(child)

    return {
        name: {module_of(i) for i in imported(ast.parse(f.read_text()))} - {name, ""}
        for name, f in files.items()
    }


@pytest.mark.parametrize("rooms", [False, True], ids=["modules", "rooms"])
def test_python_imports_in_no_circle(rooms):
    """A room is a folder of the package with all below it; a module beside them is one, too."""

    def room(module):
        return ".".join(module.split(".")[:2]) if rooms else module

    graph = {}
    for module, imported in python_imports().items():
        graph.setdefault(room(module), set()).update({room(m) for m in imported} - {room(module)})
    assert len(graph) > 15 and any(graph.values())
    while leaves := [name for name, imported in graph.items() if not imported & graph.keys()]:
        for name in leaves:
            del graph[name]
    left = {name: sorted(imported & graph.keys()) for name, imported in graph.items()}
    assert not left, "these, or what they import, import each other"


def test_engine_objects_are_private_to_their_classes():
    """`._engine` and `._native` are read inside the classes that set them, and nowhere else."""
    private = {"_engine", "_native"}

    def accesses(node):
        return [n for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr in private]

    wrong, owners = [], 0
    for f in CODE:
        if f.suffix != ".py" or not f.is_relative_to(ROOT / "python"):
            continue
        tree = ast.parse(f.read_text())
        inside = set()
        for owner in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            of_self = {n for n in accesses(owner) if ast.unparse(n.value) == "self"}
            sets = any(isinstance(n.ctx, ast.Store) for n in of_self)
            inside |= set(accesses(owner)) if sets else of_self
            owners += sets
        wrong += [f"{f}:{n.lineno}: {ast.unparse(n)}" for n in accesses(tree) if n not in inside]
    assert owners >= 3 and not wrong


def test_any_is_rare_in_annotations():
    """`Any` stands where a type is not known, such as in JSON, options, and objects of libraries
    without types; names for the frequent ones are in `segrid/_types.py`."""
    package = ROOT / "python/segrid"
    count = sum(
        isinstance(node, ast.Name) and node.id == "Any"
        for f in CODE
        if f.suffix == ".py" and f.is_relative_to(package) and "compat" not in f.parts
        for node in ast.walk(ast.parse(f.read_text()))
    )
    assert 0 < count <= 115
