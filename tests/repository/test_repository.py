"""The repository keeps its promises: packages, versions, make targets and rules of layout agree with each
other.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = (
    "help",
    "reproduce",
    "test",
    "test-long",
    "fuzz",
    "check",
    "release",
    "figures",
    "pretrain",
    "theory",
    "explorer",
    "report",
    "site",
    "site-test",
    "clean",
)
# The tests may be run by make themselves, which would announce its folders to another make.
OUTSIDE_MAKE = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
IMPORT_NAMES = {
    "bs4": "beautifulsoup4",
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
    "vl_convert": "vl-convert-python",
}


def make(*arguments, folder=ROOT):
    """What make prints."""
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=OUTSIDE_MAKE, capture_output=True, text=True, check=True).stdout


def requirements(*extras):
    """Name -> requirement of the light installation and of extras, with the extras that these name in turn."""
    found = {canonicalize_name(Requirement(text).name): Requirement(text) for text in PROJECT["dependencies"]}
    for extra in extras:
        for needed in map(Requirement, PROJECT["optional-dependencies"][extra]):
            if needed.name == PROJECT["name"]:
                found |= requirements(*needed.extras)
            else:
                found[canonicalize_name(needed.name)] = needed
    return found


def pinned(file="constraints.txt"):
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pinned_version(name):
    (specifier,) = pinned()[name].specifier
    return specifier.version


@cache
def sources():
    """Files that git tracks or would track, with their text."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    names = listed.stdout.decode().splitlines()
    kept = (".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".txt", ".ipynb", "Makefile", "Snakefile", ".ci/run")
    return {name: (ROOT / name).read_text() for name in names if name.endswith(kept) and (ROOT / name).exists()}


def python_sources():
    return {name: text for name, text in sources().items() if name.endswith(".py")}


def imported(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_every_dependency_has_one_exact_version_that_its_range_allows():
    for name, wanted in requirements("dev").items():
        assert wanted.specifier.contains(pinned_version(name)), f"{name} {pinned_version(name)} is not {wanted}"
    for name, constraint in pinned().items():
        (specifier,) = constraint.specifier
        assert specifier.operator == "==", name
        assert "*" not in specifier.version, name
        assert not constraint.url, name


def test_versions_for_gpus_are_exact_and_within_our_ranges():
    """That they go together was found by resolving them, which takes a network (docs/gpu.md)."""
    found = {name: constraint.specifier for name, constraint in pinned("constraints-gpu.txt").items()}
    assert all(re.fullmatch(r"==[\w.!+]+", str(specifier)) for specifier in found.values())
    wanted = requirements("experiments", "gpu")
    assert {"vllm", "sentencepiece", "protobuf"} <= wanted.keys()
    for name, needed in wanted.items():
        version = str(found[name]).removeprefix("==")
        assert needed.specifier.contains(version), f"{name} {version} is not {needed}"


def test_constraints_hold_every_package_that_dependencies_bring_along():
    from importlib.metadata import PackageNotFoundError, distribution

    known, queue = set(), list(requirements("dev"))
    while queue:
        name = canonicalize_name(queue.pop())
        if name in known:
            continue
        known.add(name)
        try:
            needs = [Requirement(text) for text in distribution(name).requires or []]
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed")
        queue += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    not_ours = {"pip", "setuptools", "wheel"}
    assert {name for name in known - not_ours if not re.match(r"nvidia|triton|cuda", name)} <= set(pinned())


def test_conda_users_get_the_same_python_and_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = Requirement(next(d for d in environment["dependencies"] if str(d).startswith("python")))
    assert python.specifier == Requirement(f"python{PROJECT['requires-python']}").specifier
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    makefile = (ROOT / "Makefile").read_text()
    torch = re.search(r"^TORCH\s+\?= (.*)$", makefile, re.MULTILINE)[1]
    (install,) = re.findall(r"pip install .*(-c constraints.txt) (-e) '(.*)'", makefile)
    assert pip == [install[0], torch, f"{install[1]} {install[2]}"]
    assert Requirement(torch).specifier.contains(pinned_version("torch"))


def test_every_package_that_is_imported_is_a_declared_dependency():
    ours = {"llm", "theory", "alignment_tax", "drawing"}
    ours |= {path.stem for folder in ("notebooks", "tests/helpers") for path in (ROOT / folder).glob("*.py")}
    run_time, all_of_them = set(requirements("experiments")), set(requirements("dev", "gpu", "site-test"))
    for name, text in python_sources().items():
        declared = all_of_them if name.startswith("tests/") or name in EXTRAS else run_time
        declared = set(requirements()) if name.startswith("theory/") and name not in EXTRAS else declared
        for module in imported(text):
            package = module.split(".")[0]
            if package not in sys.stdlib_module_names and package not in ours:
                wanted = canonicalize_name(IMPORT_NAMES.get(package, package))
                assert wanted in declared, f"{name} imports {package}, which pyproject.toml lacks"


# What is imported there only runs where one of the extras is installed, and says so where it is not.
EXTRAS = {
    "conftest.py",
    "docs/formulas.py",
    "setup.py",
    "theory/bench.py",
    "examples/trl_tax.py",
    "llm/bench/average.py",
    "llm/bench/train.py",
    "llm/training/distributed/vllm_writer.py",
    "notebooks/drawing/explorer/page.py",
    "notebooks/drawing/report.py",
}


def test_theory_and_llm_stand_alone():
    for name, text in python_sources().items():
        packages = {module.split(".")[0] for module in imported(text)}
        if name.startswith("theory/"):
            assert not packages & {"llm", "torch", "transformers"}, name
        if name.startswith("llm/"):
            assert "theory" not in packages, name


@pytest.mark.parametrize(
    ("rooms", "heavy"),
    [
        (("theory",), {"torch", "pandas", "pydantic", "llm"}),
        (("llm/cli.py", "llm/commands", "llm/config", "llm/methods"), {"torch", "transformers", "scipy", "pandas"}),
        (("llm/evidence",), {"torch", "transformers", "matplotlib"}),
    ],
)
def test_what_starts_at_once_imports_nothing_heavy(rooms, heavy):
    paths = [path for room in rooms for path in [ROOT / room, *(ROOT / room).rglob("*.py")] if path.suffix == ".py"]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    code = f"import sys, {', '.join(names)}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    entries = re.findall(r"^## \[(.*?)\](?: - (.*))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = dict(entry for entry in entries if entry[0] != "Unreleased")
    assert entries[0][0] in ("Unreleased", PROJECT["version"])
    assert citation["version"] == PROJECT["version"]
    assert Version(PROJECT["version"]) >= max(map(Version, released), default=Version("0"))
    assert citation.get("date-released") == released.get(PROJECT["version"])  # none before there is a release


YEAR = re.search(r"Copyright \(c\) (\d{4})", (ROOT / "LICENSE").read_text())[1]  # of what is not released


def test_the_readmes_entry_for_this_software_is_the_citation_files():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (entry,) = re.findall(r"^@software\{.*?^\}", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    fields = dict(re.findall(r"(\w+) += \{+(.*?)\}+,?$", entry, re.MULTILINE))
    assert fields == {
        "title": citation["title"],
        "author": citation["authors"][0]["name"],
        "version": citation["version"],
        "year": citation.get("date-released", YEAR)[:4],
    }
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


def test_the_citation_names_the_paper_and_all_its_authors():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert "preferred-citation" not in citation, "tools would cite it in the software's place"
    paper = citation["references"][0]
    assert paper["title"] == "Mitigating the Alignment Tax of RLHF"
    assert len(paper["authors"]) == 17
    assert (paper["authors"][0]["family-names"], paper["authors"][-1]["given-names"]) == ("Lin", "Tong")


def test_make_help_lists_every_target_in_one_line_each():
    shown = make("help")
    assert tuple(re.findall(r"^make ([\w-]+) ", shown, re.MULTILINE)) == TARGETS
    default = make()
    assert default == shown


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"help", "clean"}))
def test_every_target_sets_itself_up_first(target, tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    plan = make("-n", target, folder=tmp_path)
    order = ["-m venv .venv", "pip install -q --disable-pip-version-check torch==", "-e '.[dev]'", "touch"]
    places = [plan.index(step) for step in order]
    assert places == sorted(places)
    assert plan.index("touch") < len(plan.rstrip()) - len("touch .venv/installed")


def test_options_of_make_reach_the_workflow(tmp_path):
    preset = tmp_path / "my presets" / "small.yml"
    preset.parent.mkdir()
    preset.write_text("{base: smoke, name: mine}")
    plan = make("-n", "reproduce", "SEEDS=3 4", f"PRESET={preset}", "TARGET=all", "CORES=5")
    assert re.search(
        rf'snakemake --cores 5 --nolock --rerun-incomplete --resources gpu=1 --config preset="{preset}" seeds="3 4" .*-- all\n',
        plan,
    )
    assert f'-m llm check --launch --preset "{preset}" --seeds 2 --sweep all\n' in plan
    assert '--theory results/theory --to "out/results/claims-' in plan
    last, environment = (
        plan.splitlines()[-1].replace(".venv/bin/python", sys.executable),
        os.environ | {"PRESET": str(preset)},
    )
    told = subprocess.run(last, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True).stdout
    assert told == "Figures: out/figures/mine; notebooks with their text: out/notebooks/mine; rows: out/results/mine\n"
    plan = make("-n", "reproduce", "GPUS=8")
    assert re.search(r'snakemake --cores 8 .* --resources gpu=8 .* results="out/results" gpus=8 -- core\n', plan)
    assert '-m llm check --launch --preset "microcosm" --seeds 1 --gpus 8 --sweep core\n' in plan
    plan = make("-n", "reproduce", "TARGET=core algorithms")
    assert '-m llm check --launch --preset "microcosm" --seeds 1 --sweep core  --sweep algorithms\n' in plan
    plan = make("-n", "-B", "test", "TORCH=torch==2.13.0 --index-url https://example.org")
    assert "torch==2.13.0 --index-url https://example.org\n" in plan


def test_make_clean_never_touches_results_figures_or_notebooks():
    plan = make("-n", "clean")
    removed = re.findall(r"rm -rf ([\w. ]+)$", plan, re.MULTILINE)
    caches = {".snakemake", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"}
    assert set(" ".join(removed).split()) <= caches | {"out", "build"}


def test_no_source_holds_an_absolute_path_of_a_machine():
    own = Path(__file__).relative_to(ROOT).as_posix()
    for name, text in sources().items():
        if name not in {own, "tests/notebooks/test_notebooks.py"}:
            found = re.search(r"(?<![\w.:/])/(home|Users|root|work|opt|mnt|data)/\w+", text)
            assert not found, f"{name}: {found}"


def test_continuous_integration_checks_style_and_types_before_the_tests_and_prints_their_last_line_last():
    *_, check, test = (ROOT / ".ci" / "run").read_text().splitlines()
    assert (check, test) == ("make --no-print-directory check", "make --no-print-directory test")
    plan = make("-n", "check", "test")
    *_, form, lint, types, tests = (line.split("/", 2)[-1] for line in plan.splitlines())
    assert (form, lint, types) == ("ruff format --check .", "ruff check .", "mypy llm theory")
    assert "pytest" in tests


def test_hooks_for_contributors_run_what_is_checked_without_a_network():
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert hooks["repo"] == "local"
    assert {hook["language"] for hook in hooks["hooks"]} == {"system"}
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks["hooks"]]
    assert entries == ["ruff format", "ruff check", "mypy llm theory"]


def test_contributing_names_files_that_exist():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:llm|theory|notebooks|tests|results|figures|docs)/[\w./*-]+)`", page))
    missing = [name for name in sorted(named) if not list(ROOT.glob(name.rstrip("/").replace("NAME", "*")))]
    assert named
    assert not missing


def test_the_readme_of_results_says_which_seeds_of_the_microcosm_are_measured():
    seeds: dict[str, list[int]] = {}
    for path in sorted((ROOT / "results" / "microcosm").glob("*-seed*.jsonl")):
        sweep, seed = path.stem.rsplit("-seed", 1)
        seeds.setdefault(sweep, []).append(int(seed))
    rows = [f"| `{sweep}` | {', '.join(map(str, sorted(found)))} |" for sweep, found in sorted(seeds.items())]
    table = "\n".join(["<!-- measured -->", "| sweep | seeds |", "|---|---|", *rows, "<!-- end of measured -->"])
    assert table in (ROOT / "results" / "README.md").read_text(), f"results/README.md needs\n{table}"
