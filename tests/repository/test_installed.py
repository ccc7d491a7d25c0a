"""The wheel in fresh environments: beside the index's package `llm`, and with nothing but the light dependencies."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIBRARIES = Path(np.__file__).parents[1]
INDEX_LLM = "__init__ __main__ cli embeddings errors hookspecs migrations models plugins utils".split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The project's wheel, built from a copy of its sources, so that nothing of an older build gets into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("llm", "theory", "package"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return built(source)


def built(source: Path) -> Path:
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", source / "dist", source)
    (found,) = (source / "dist").glob("*.whl")
    return found


def pip(*arguments: object, python: object = sys.executable) -> None:
    pip = [sys.executable, "-m", "pip", "--python", python]
    command = [*pip, *arguments, "-q", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(list(map(str, command)), env=unaware(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def unaware() -> dict[str, str]:
    """The variables of this process, but for the one that names the checkout."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def environment(folder: Path, *wheels: Path) -> Path:
    """A fresh environment with the wheels and nothing else; its site-packages."""
    venv.create(folder, symlinks=True)
    pip("install", "--no-deps", "--no-compile", *wheels, python=folder / "bin" / "python")
    (packages,) = folder.glob("lib/*/site-packages")
    return packages


def run(folder: Path, program: str, *arguments: object) -> subprocess.CompletedProcess:
    """A program of an environment, started where no checkout is in sight."""
    command = [folder / "bin" / program, *arguments]
    return subprocess.run(list(map(str, command)), cwd=folder, env=unaware(), capture_output=True, text=True)


def printed(folder: Path, program: str, *arguments: object) -> str:
    done = run(folder, program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def two_models(folder: Path) -> tuple[Path, Path]:
    """Two folders with a Llama of one layer, all weights 0 and all weights 1."""
    config = '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1, "vocab_size": 4}'
    names = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight")
    models = folder / "theta_0", folder / "theta"
    for value, model in enumerate(models):
        model.mkdir()
        (model / "config.json").write_text(config)
        save_file({name: np.full((4, 2), value, np.float32) for name in names}, model / "model.safetensors")
    return models


def averages(folder: Path) -> bool:
    """Whether `alignment-tax average` of an environment writes the average."""
    theta_0, theta = two_models(folder)
    printed(folder, "alignment-tax", "average", "--theta-0", theta_0, "--theta", theta, "--alpha", 0.25, "--out", "out")
    return all((tensor == 0.25).all() for tensor in load_file(folder / "out" / "model.safetensors").values())


@pytest.fixture(scope="module")
def beside_llm(wheel, tmp_path_factory) -> Path:
    """Ours and a distribution with the index's `llm`'s files, installed after ours, and the libraries of the tests."""
    source = tmp_path_factory.mktemp("llm")
    (source / "llm").mkdir()
    for name in INDEX_LLM:
        (source / "llm" / f"{name}.py").write_text("def cli():\n    print('the other llm')\n")
    (source / "llm" / "__main__.py").write_text("from llm.cli import cli\ncli()\n")
    (source / "pyproject.toml").write_text(
        '[project]\nname = "llm"\nversion = "0.28"\n[project.scripts]\nllm = "llm.cli:cli"\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    folder = tmp_path_factory.mktemp("beside") / "environment"
    (environment(folder, wheel, built(source)) / "libraries.pth").write_text(f"{LIBRARIES}\n")
    return folder


def test_readme_in_the_wheel_has_no_link_that_only_the_repository_can_follow(wheel):
    """What a package index shows: links of pages and pictures are absolute, to this version, and lead to files that exist."""
    with ZipFile(wheel) as files:
        (metadata,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        headers, _, shown = files.read(metadata).decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in headers
    found = re.findall(r'\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', shown)
    targets = [link or picture for link, picture in found]
    assert all(target.startswith(("https://", "#")) for target in targets)
    address = f"{PROJECT['urls']['Repository']}/(?:blob|raw)/v{PROJECT['version']}/"
    inside = [re.sub(address, "", target) for target in targets if re.match(address, target)]
    assert "docs/results.md" in inside and any(name.endswith(".png") for name in inside)
    assert all((ROOT / name).exists() for name in inside)
    assert shown.count("](") == (ROOT / "README.md").read_text().count("](")


def test_the_wheel_and_the_llm_of_the_index_do_not_touch_each_other(beside_llm):
    assert printed(beside_llm, "llm") == printed(beside_llm, "python", "-m", "llm") == "the other llm\n"
    assert printed(beside_llm, "alignment-tax", "plan", "--preset", "smoke").startswith("step ")
    assert averages(beside_llm)


def test_installed_names_are_those_of_alignment_tax(beside_llm):
    code = "import alignment_tax, alignment_tax.llm as llm, alignment_tax.theory as theory, os;"
    code += "print(alignment_tax.__version__, llm.version(), llm.__name__, theory.__name__, os.path.dirname(alignment_tax.__file__))"
    *said, folder = printed(beside_llm, "python", "-c", code).split()
    assert said == [PROJECT["version"], PROJECT["version"], "alignment_tax.llm", "alignment_tax.theory"]
    assert Path(folder).is_relative_to(beside_llm)
    assert (Path(folder) / "py.typed").is_file()
    assert printed(beside_llm, "alignment-tax", "--version").split()[-1] == PROJECT["version"]


def test_every_module_imports_under_the_installed_name_and_none_under_another(beside_llm):
    """Of `llm` and `theory`: absolute imports of either would find the other package `llm`, or nothing."""
    code = "import importlib, pkgutil, sys, alignment_tax as top\n"
    code += "names = [m.name for m in pkgutil.walk_packages(top.__path__, 'alignment_tax.')]\n"
    code += "[importlib.import_module(name) for name in names if not name.endswith('__main__')]\n"
    code += "print(len(names), {'llm', 'theory'} & set(sys.modules))"
    count, others = printed(beside_llm, "python", "-c", code).split(maxsplit=1)
    assert others == "set()\n"
    folders = [path for name in ("llm", "theory") for path in (ROOT / name).rglob("*.py")]
    assert int(count) == len(folders)


def test_the_wheel_carries_every_file_of_its_packages(beside_llm):
    (packages,) = beside_llm.glob("lib/*/site-packages")
    for name in ("llm", "theory"):
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".md"):
                assert (packages / "alignment_tax" / path.relative_to(ROOT)).is_file(), path


@pytest.fixture(scope="module")
def light(wheel, tmp_path_factory) -> Path:
    """Ours with its dependencies alone, no extra: links to their files among the libraries of the tests."""
    folder = tmp_path_factory.mktemp("light") / "environment"
    packages = environment(folder, wheel)
    for name in with_needs(PROJECT["dependencies"]):
        tops = {
            Path(path).parts[0] for path in distribution(name).files if Path(path).parts[0] not in ("..", "__pycache__")
        }
        for top in tops - set(os.listdir(packages)):
            (packages / top).symlink_to(Path(distribution(name).locate_file(top)))
    return folder


def with_needs(requirements: list[str]) -> set[str]:
    """Distributions of requirements, and what they need in turn."""
    found, queue = set(), list(requirements)
    while queue:
        requirement = Requirement(queue.pop())
        if canonicalize_name(requirement.name) not in found and (
            not requirement.marker or requirement.marker.evaluate({"extra": ""})
        ):
            found.add(canonicalize_name(requirement.name))
            queue += distribution(requirement.name).requires or []
    return found


def test_the_light_install_averages_and_computes_theory(light):
    assert (
        run(light, "python", "-c", "import torch").returncode
        == run(light, "python", "-c", "import pandas").returncode
        == 1
    )
    assert averages(light)
    code = "from alignment_tax import theory; print(theory.effective_features(counts=[12, 14], weights=[1, 4]))"
    assert float(printed(light, "python", "-c", code)) == pytest.approx((12 + 56) ** 2 / (12 + 14 * 16))
    code = "from alignment_tax.llm.averaging import average; print(average('theta_0', 'theta', 0.5, out='half').groups)"
    assert "0.5" in printed(light, "python", "-c", code)
    assert printed(light, "alignment-tax", "--help")
    assert printed(light, "alignment-tax", "plan", "--preset", "smoke")


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("front --theta-0 theta_0 --theta theta --tasks items.jsonl --out front", "measure"),
        ("adapt --theta-0 theta_0 --theta theta --alpha 0.5 --data samples.jsonl --out ratios.json", "measure"),
        ("benchmark theta --to rows.jsonl", "measure"),
        ("table results", "measure"),
        ("claims results", "measure"),
        ("pretrain --preset smoke --seed 0", "measure"),
    ],
)
def test_a_command_whose_extra_is_missing_ends_with_one_sentence(light, command, extra):
    done = run(light, "alignment-tax", *command.split())
    assert done.returncode == 2, done.stderr
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: ")
    assert sentence.endswith(f" is not installed; give `pip install '.[{extra}]'` in a checkout first")
    assert done.stdout == ""
