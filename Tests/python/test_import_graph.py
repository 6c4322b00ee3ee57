"""The package's modules import one another in one direction, imports within functions included."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "carl"


def modules_of(package: Path) -> dict[str, Path]:
    """The files by the modules' full names."""
    found = {}
    for file in package.rglob("*.py"):
        parts = [package.name, *file.relative_to(package).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported_by(name: str, modules: dict[str, Path]) -> set[str]:
    """Modules of the package that `name` imports, wherever in the file; those for type checkers alone are left out."""
    file = modules[name]
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found.update(name if (name := f"{source}.{alias.name}") in modules else source for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    # To import a.b.c runs a.b first, unless the importing module is part of a.b itself.
    parents = {".".join(target.split(".")[:length]) for target in found for length in range(1, target.count(".") + 1)}
    found |= {parent for parent in parents if not f"{name}.".startswith(f"{parent}.")}
    return {target for target in found if target in modules and target != name}


def find_cycle(package: Path) -> list[str] | None:
    """Modules that import one another in a circle, the first one once more at the end; None if there is no circle."""
    modules = modules_of(package)
    graph = {name: sorted(imported_by(name, modules)) for name in sorted(modules)}
    done: set[str] = set()

    def search(path: list[str]) -> list[str] | None:
        for target in graph[path[-1]]:
            if target in path:
                return [*path[path.index(target) :], target]
            if target not in done and (cycle := search([*path, target])):
                return cycle
        done.add(path[-1])
        return None

    for name in graph:
        if name not in done and (cycle := search([name])):
            return cycle
    return None


@pytest.mark.skipif(not PACKAGE.is_dir(), reason="the sources are not here")
def test_no_module_imports_itself_through_others():
    assert len(modules_of(PACKAGE)) > 80
    assert find_cycle(PACKAGE) is None


@pytest.mark.parametrize(
    ("files", "cycle"),
    [
        ({"a": "from .b import x", "b": "def f():\n    from .a import y"}, ["pack.a", "pack.b", "pack.a"]),
        ({"a": "from . import b", "b": "import pack.a"}, ["pack.a", "pack.b", "pack.a"]),
        (
            {"a": "from .sub.c import x", "sub/__init__": "from .d import y", "sub/c": "", "sub/d": "from .. import a"},
            ["pack.a"],
        ),
        ({"a": "from .b import x", "b": "if TYPE_CHECKING:\n    from .a import y"}, None),
    ],
)
def test_cycles_are_found(tmp_path, files, cycle):
    for name, text in {"__init__": "", **files}.items():
        file = tmp_path / "pack" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = find_cycle(tmp_path / "pack")
    assert found == cycle or (cycle == ["pack.a"] and found[0] == found[-1] == "pack.a")


def test_the_import_is_short_of_what_few_programs_need():
    """Packages that judge, draw and write are imported when they are asked for, as are modules that load much."""
    late = {"carl.evaluate", "carl.export", "carl.plots", "carl.report", "carl.loggers", "carl.demo"}
    late |= {"statistics", "socket", "hashlib", "html", "PIL"}
    program = f"import sys, numpy; had = set(sys.modules); import carl; print(*({late} & (set(sys.modules) - had)))"
    assert output_of(program) == "\n"
    assert output_of("import carl; print(carl.evaluate.knn)").startswith("<function knn")


def output_of(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
