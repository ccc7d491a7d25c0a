"""The house: which part of `llm` may import which. A room is a folder or module at the top of `llm`; floors go up."""

import ast
from functools import cache
from pathlib import Path

LLM = Path(__file__).resolve().parents[2] / "llm"
FLOORS = [
    {"errors", "files", "grouping", "methods"},
    {"data", "config"},
    {"models"},
    {"fetch", "run"},
    {"averaging", "training", "evidence"},
    {"evaluation"},
    {"stages"},
    {"plan", "bench"},
    {"commands"},
    {"cli"},
]
NO_CODE = {"presets", "sweeps"}
MOST_ROOMS = 18


@cache
def modules() -> dict[tuple[str, ...], Path]:
    """Path of each module by its name within `llm`, () being `llm` itself."""
    found = {}
    for path in sorted(LLM.rglob("*.py")):
        *folders, name = path.relative_to(LLM).with_suffix("").parts
        found[tuple(folders) if name == "__init__" else (*folders, name)] = path
    return found


@cache
def imports() -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Modules of `llm` that each module names in an import, anywhere in its text, functions included."""
    return {name: set(_imported(name, path)) for name, path in modules().items()}


def _imported(name: tuple[str, ...], path: Path):
    package = name if path.stem == "__init__" else name[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
            elif (node.module or "").partition(".")[0] == "llm":
                raise AssertionError(f"{path} imports {node.module} by its full name; imports within llm are relative")
            else:
                continue
            home = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                target = (*home, alias.name) if (*home, alias.name) in modules() else home
                assert target in modules(), f"{path} imports {'.'.join(target)}, which does not exist"
                yield target


def room_arrows() -> dict[tuple[str, str], list[str]]:
    """(room, room that it imports) -> the modules that do so."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for name, targets in imports().items():
        for target in targets:
            if name and target and name[0] != "__main__" and name[0] != target[0]:
                arrows.setdefault((name[0], target[0]), []).append(f"{'.'.join(name)} -> {'.'.join(target)}")
    return arrows


def test_the_top_of_llm_has_few_rooms_each_on_a_floor():
    rooms = {name[0] for name in modules() if name} - {"__main__"} - NO_CODE
    placed = set().union(*FLOORS)
    assert rooms <= placed, f"on no floor: {sorted(rooms - placed)}"
    assert placed <= rooms, f"there is no {sorted(placed - rooms)}"
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)


def test_no_module_imports_from_a_room_above_its_own():
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    upward = [texts for (low, high), texts in room_arrows().items() if floor[high] > floor[low]]
    assert not upward, sorted(sum(upward, []))


def test_no_two_rooms_import_each_other():
    arrows = room_arrows()
    mutual = {pair: texts for pair, texts in arrows.items() if pair[::-1] in arrows}
    assert not mutual, mutual


def test_no_circle_of_modules():
    """By names alone: a package's own file counts where it is named, not whenever something within it is."""
    graph, state, path = imports(), {}, []

    def walk(name):
        state[name] = "open"
        path.append(name)
        for target in sorted(graph[name] - {name}):
            if state.get(target) == "open":
                circle = [*path[path.index(target) :], target]
                raise AssertionError("a circle: " + " -> ".join(".".join(each) or "llm" for each in circle))
            if target not in state:
                walk(target)
        state[name] = "done"
        path.pop()

    for name in sorted(graph):
        if name not in state:
            walk(name)
