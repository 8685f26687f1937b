"""The rules of the package's rooms: no circle among imports, private engine objects, few `Any`."""

import ast

import pytest

from tests.test_codebase import CODE, ROOT


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
    assert 0 < count <= 130
