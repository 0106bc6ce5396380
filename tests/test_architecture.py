"""The shape of the code: what a tool can check is checked here, so that nobody has to remember it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "collectord").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HELD = ROOT / "tests" / "sources" / "README.md"

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_MOCK_SHARE = 0.05
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions_of(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def names_in(tree: ast.AST) -> set[str]:
    """Every dotted name that is used, `unittest.mock` and `mock.patch` alike."""
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)}


def imports_of(tree: ast.AST) -> set[str]:
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def uses_mocks(function: Function) -> bool:
    words = names_in(function) | {argument.arg for argument in function.args.args}
    return any(re.search(r"(^|\.)(Magic|Async)?Mock$|^(mock\.)?patch(\.|$)|^mocker(\.|$)", word) for word in words)


def test_imports_obey_the_contracts():
    command = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([command, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), "its first line says its one reason to exist"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_fits_in_a_head(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_MODULE_LINES, f"{lines} lines: it has more than one reason to exist"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_fit_on_a_screen(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions_of(tree)}
    assert not {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_has_a_name_that_says_something(path):
    assert not NAMELESS & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_our_own_code_is_never_patched(path):
    """Fakes of our contracts, real servers and aioresponses take its place."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    patched = [
        ast.unparse(call)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and re.search(r"(^|\.)(patch|patch\.object|patch\.dict|setattr)$", ast.unparse(call.func))
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and str(call.args[0].value).startswith("collectord.")
    ]
    assert not patched


def test_few_tests_use_mocks():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in TESTS}
    functions = [(path, node) for path, tree in trees.items() for node in functions_of(tree)]
    tests = [(path, node) for path, node in functions if node.name.startswith("test_")]
    mocking = [f"{name_of(path)}::{node.name}" for path, node in tests if uses_mocks(node)]
    assert len(mocking) <= MAX_MOCK_SHARE * len(tests), mocking
    importing = [name_of(path) for path, tree in trees.items() if "unittest.mock" in imports_of(tree)]
    assert len(importing) <= MAX_MOCK_SHARE * len(TESTS), importing


def test_every_row_of_a_vendors_contract_is_held_by_tests_that_there_are():
    own, rows, missing = "", 0, []
    for line in HELD.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## .*\((test_\w+\.py)\)$", line):
            own = heading[1]
        elif line.startswith("| ") and line != "| row | held by |":
            rows += 1
            held_by = re.findall(r"`(?:([\w/]+\.py)::)?(test_\w+)`", line.rpartition(" | ")[2])
            missing += [name for file, name in held_by if name not in functions_in(file or own)]
            missing += [] if held_by else [line]
    assert rows > 100
    assert not missing


@cache
def functions_in(file: str) -> set[str]:
    path = next(folder / file for folder in (HELD.parent, ROOT / "tests") if (folder / file).exists())
    return {node.name for node in functions_of(ast.parse(path.read_text(encoding="utf-8")))}
