"""The shape of the code: sizes, who imports whom, names, and what never appears (S7).

What a machine can check, a machine checks. An exception is written down here with its reason, and
an exception that is no longer needed fails as well.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rayflume
from rayflume import errors
from rayflume.component import FOLDERS, lookup, types_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rayflume"
LINES_OF_FUNCTION, LINES_OF_FILE, LINES_OF_TESTS, COLUMNS, PARAMETERS = 60, 500, 800, 100, 5

MORE_PARAMETERS = {
    "rayflume/cli/run_.py:run": 10,  # typer: the options of a command are its parameters
    "rayflume/cli/start.py:start": 6,
    "rayflume/cli/submit.py:submit": 9,
    "rayflume/cli/components.py:components": 6,
    "rayflume/cli/compact.py:compact": 11,
    "rayflume/cli/journal.py:deliveries": 6,
}

GROUND = {
    "addresses", "charsets", "clock", "directories", "errors", "escapes", "file_metadata",
    "metrics", "naming", "own_parts", "ranges", "threads", "units",
}  # fmt: skip
CONTRACTS = GROUND | {
    "batch", "completeness", "schema", "component", "interfaces", "dead_letters", "lines",
    "protocols", "transcode", "sink_group",
}  # fmt: skip
MAY_IMPORT = {
    **{name: set[str]() for name in GROUND},
    "addresses": {"errors"},
    "batch": set(),
    "completeness": set(),
    "kernels": set(),
    "regexes": set(),
    "hashes": {"kernels"},
    "spans": {"batch"},
    "time_patterns": set(),
    "own_parts": {"errors"},
    "protocols": {"component", "errors", "interfaces"},
    "schema": {"errors"},
    "component": {"errors", "clock", "metrics", "own_parts", "threads"},
    "interfaces": {"batch", "completeness"},
    "dead_letters": {"batch"},
    "lines": {"batch"},
    "deserializer": {"component", "lines", "transcode"},
    "avro_files": set(),
    "deserializers": CONTRACTS | {"avro_files", "deserializer", "kernels"},
    "transcode": {"batch"},
    "journal": CONTRACTS - {"component", "schema"},
    "storage": CONTRACTS,
    "lake": CONTRACTS,
    "serializer": {"batch", "interfaces"},
    "serializers": CONTRACTS | {"serializer"},
    "table": {"component", "errors", "interfaces", "lake", "naming"},
    "tables": CONTRACTS | {"table"},
    "tombstones": CONTRACTS,
    "delivery": CONTRACTS,
    "lane": CONTRACTS | {"delivery"},
    "releasing": CONTRACTS | {"delivery", "lane"},
    "flow": CONTRACTS | {"delivery", "lane", "releasing"},
    "markers": CONTRACTS,
    # dead letters are read from a lake, syslog by machine code
    "sources": CONTRACTS
    | {"avro_files", "deserializer", "kernels", "lake", "regexes", "spans", "time_patterns"},
    "interceptors": CONTRACTS | {"regexes", "time_patterns"},
    "selectors": CONTRACTS | {"hashes"},
    "sink_group": set(),
    "sink_processors": CONTRACTS,
    "sink_selectors": CONTRACTS,
    "channels": CONTRACTS | {"journal"},
    "formats": CONTRACTS | {"avro_files", "kernels", "spans"},
    "sinks": CONTRACTS | {"lake", "serializer", "table", "tombstones"},
    # of lakes: no agent, no sink, no journal
    "maintenance": CONTRACTS | {"hashes", "tombstones"},
    "config": CONTRACTS,
    "flume": CONTRACTS | {"config", "regexes"},
    "agent": CONTRACTS
    | {"flow", "releasing", "markers", "delivery", "config", "flume", "journal", "lake"}
    | {"maintenance", "table"},
    "cli": CONTRACTS | {"config", "flume", "journal", "agent", "maintenance", "__init__"},
    "templates": CONTRACTS | {"channels"},  # a channel of one's own begins with a file channel
    "testing": CONTRACTS | {"journal"},
    "demo": set(),
    "demo_lake": {"cli", *GROUND},
    "__init__": {"errors", "agent"},
    "__main__": {"cli"},
}
"""Module or folder of the package -> what of the package it may import, besides its own folder."""

MAY_IMPORT_RAY = {
    "rayflume/agent/actors.py": "ray",
    "rayflume/agent/cluster.py": "ray",
    "rayflume/agent/ray_host.py": "ray",
    "rayflume/agent/ray_metrics.py": "ray.util.metrics",
    "rayflume/agent/compact_tasks.py": "ray",  # tasks, not actors: no part of an agent
    "rayflume/agent/placement.py": "ray",  # ray_host.py asks it where
    "rayflume/cli/submit.py": "ray.job_submission",  # a client of the dashboard: HTTP, no actor
}
PUBLIC = [
    "Agent",
    "AgentStatus",
    "ConfigError",
    "RayflumeError",
    "RunningAgent",
    "__version__",
    "load",
]
CLIENTS = {"boto3", "botocore", "aiobotocore", "s3fs"}
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_YAML = {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}
READERS_OWN = {"shop_parts.py"}
"""Modules that documents tell their reader to write."""
_PRAGMA = re.compile(r"\s+# (?:noqa|type: ignore|fmt:).*$")


def modules(*folders: str) -> list[Path]:
    """All modules of the folders, sorted."""
    found = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    written = ROOT / "bench" / "data"  # by the bench: input, and environments of other tools
    found = [path for path in found if not path.is_relative_to(written)]
    return sorted(path for path in found if not {"__pycache__", "target"} & set(path.parts))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


CODE = modules("rayflume", "jobs")
ALL = modules("rayflume", "jobs", "tests", "bench")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Full names of all modules a module imports, wherever in it."""
    found, todo = list[str](), list[ast.AST](tree(path).body)
    for node in todo:  # statements alone: most nodes are expressions
        nested = ast.stmt | ast.ExceptHandler | ast.match_case
        todo += [one for one in ast.iter_child_nodes(node) if isinstance(one, nested)]
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: write the import in full"
            assert node.module is not None
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)


def of_package(path: Path) -> str:
    """The key of MAY_IMPORT for a module: its folder, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


# -- sizes -----------------------------------------------------------------------------------------


def test_functions_fit_on_a_screen() -> None:
    found = []
    for path in ALL:
        for function in functions(path):
            assert function.end_lineno is not None
            doc = function.body[0] if ast.get_docstring(function) is not None else None
            documented = (doc.end_lineno or 0) - doc.lineno + 1 if doc else 0
            lines = function.end_lineno - function.lineno + 1 - documented
            if lines > LINES_OF_FUNCTION:
                found.append(f"{name_of(path)}:{function.lineno}: {function.name} has {lines}")
    assert found == []


def test_files_are_short() -> None:
    found = {}
    for path in ALL:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        name = name_of(path)
        limit = LINES_OF_TESTS if name.startswith("tests/") else LINES_OF_FILE
        if lines > limit:
            found[name] = lines
    assert found == {}


def test_lines_are_short() -> None:
    found = [
        f"{name_of(path)}:{number}"
        for path in ALL
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(_PRAGMA.sub("", line)) > COLUMNS
    ]
    assert found == []


def test_parameters_are_few() -> None:
    found = {}
    for path in CODE:
        for function in functions(path):
            given = function.args
            names = [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > PARAMETERS:
                found[f"{name_of(path)}:{function.name}"] = count
    assert set(found) == set(MORE_PARAMETERS)
    assert all(count <= MORE_PARAMETERS[name] for name, count in found.items()), found


# -- imports ---------------------------------------------------------------------------------------


def imports_of_package(path: Path) -> Iterator[tuple[str, str]]:
    """(what is imported, the key of MAY_IMPORT for it) of all a module imports of the package."""
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first == "rayflume":
            other = rest.partition(".")[0]
            yield name, other if other in MAY_IMPORT else "__init__"  # a public name


@cache
def imported() -> dict[str, set[str]]:
    """Module or folder of the package -> what of the package it imports, besides itself."""
    found: dict[str, set[str]] = {}
    for path in modules("rayflume"):
        own = of_package(path)
        others = {other for _, other in imports_of_package(path)}
        found.setdefault(own, set()).update(others - {own})
    return found


@pytest.mark.parametrize("path", modules("rayflume"), ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    own = of_package(path)
    assert own in MAY_IMPORT, f"give {own} a line in MAY_IMPORT"
    for name, other in imports_of_package(path):
        assert other == own or other in MAY_IMPORT[own], f"{name_of(path)} imports {name}"


def test_no_folder_knows_itself_by_way_of_others() -> None:
    TopologicalSorter(imported()).prepare()  # raises CycleError


def test_what_may_be_imported_is() -> None:
    assert set(imported()) == set(MAY_IMPORT)
    unused = {own: may - CONTRACTS - imported()[own] for own, may in MAY_IMPORT.items()}
    assert {own: others for own, others in unused.items() if others} == {}


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_ray_is_imported_in_the_shell_alone(path: Path) -> None:
    allowed = MAY_IMPORT_RAY.get(name_of(path))
    found = [name for name in imports(path) if name.partition(".")[0] == "ray"]
    assert all(allowed and f"{name}.".startswith(f"{allowed}.") for name in found), found
    assert bool(found) == bool(allowed)


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_clients_of_stores_are_imported_in_storage_alone(path: Path) -> None:
    found = {name.partition(".")[0] for name in imports(path)} & CLIENTS
    assert not found or name_of(path).startswith("rayflume/storage/"), found


def test_jobs_are_short_entry_points() -> None:
    for path in modules("jobs"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_OF_FUNCTION


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_part_is_the_module_of_its_name(kind: str) -> None:
    found = types_of(kind)
    assert found, f"no {kind} at all"
    for name in found:
        part = lookup(kind, name)
        assert (part.kind, part.type_name) == (kind, name)
        assert part.__module__ == f"rayflume.{FOLDERS[kind]}.{name}"
        assert part.__doc__, f"{kind} {name} needs a docstring: it is its documentation"
        for option, field in part.model_fields.items():
            assert field.description, f"{kind} {name}: the option {option} needs a description"
            assert re.fullmatch(r"[a-z][a-z0-9_]*", option)


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = {"RayflumeError": 0}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ]*)[├└]── (\w+)", line):
            drawn[found[2]] = len(found[1]) // 4 + 1
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    above = len(errors.RayflumeError.__mro__)
    assert drawn == {one.__name__: len(one.__mro__) - above for one in classes}


def test_public_names_are_pinned() -> None:
    assert sorted(rayflume.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(rayflume, name) is not None


def test_generated_documents_are_current(tmp_path: Path) -> None:
    """`make docs` writes them."""
    reference = importlib.import_module("rayflume.cli._reference")
    written = [Path(path) for path in reference.write(tmp_path)]
    assert written
    for path in written:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), f"{path}: run make docs"
    kept = {path.relative_to(ROOT) for path in (ROOT / "conf" / "reference").rglob("*.yaml")}
    assert kept <= set(written)


# -- what never appears ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_s7_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    for name in imports(path):
        assert name.partition(".")[0] not in UNSAFE_MODULES, f"{name_of(path)} imports {name}"
    for node in ast.walk(tree(path)):
        place = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in UNSAFE_CALLS, place
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            unsafe = node.value.id == "yaml" and node.attr in UNSAFE_YAML
            assert not unsafe, place
        if isinstance(node, ast.keyword):
            assert node.arg != "allow_pickle", place


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_no_work_is_left_in_the_code(path: Path) -> None:
    marks = re.compile(r"#.*\b(TODO|FIXME|XXX)\b")
    assert not marks.search(path.read_text(encoding="utf-8"))


# -- what a newcomer gets --------------------------------------------------------------------------


def test_constraints_are_pinned_and_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    wrong = [
        line for line in lines if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.+]*", line)
    ]
    assert lines and wrong == []
    for name in ("Makefile", ".ci/run", "pyproject.toml"):
        assert not re.search(r"index-url|find-links|trusted-host", (ROOT / name).read_text()), name


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=name_of)
def test_links_of_documents_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", path.read_text()):
        assert link.startswith("https://") or (path.parent / link).exists(), link


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=name_of)
def test_modules_that_documents_name_are_there(path: Path) -> None:
    known = [f"/{name_of(module)}" for module in ALL]
    for name in set(re.findall(r"`([\w/]+\.py)`", path.read_text())) - READERS_OWN:
        assert any(module.endswith(f"/{name}") for module in known), name


def test_the_readme_leads_with_commands_that_exist() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    assert 0 < readme.index("make demo") < readme.index("make test") < readme.index("rayflume run")
    for target in re.findall(r"`?make ([a-z-]+)", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
