"""`llm.version()`: the commit of a checkout of the project, and of nothing else."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

import llm

ROOT = Path(__file__).resolve().parents[2]
NUMBER = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
READ = "import llm; print(llm.version())"


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.org"]
    done = subprocess.run(["git", "-C", folder, *names, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def copied(folder: Path) -> Path:
    """As much of the sources as a version is read from."""
    (folder / "llm").mkdir(parents=True)
    (folder / "results").mkdir()
    shutil.copy(ROOT / "llm" / "__init__.py", folder / "llm")
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "results" / "rows.jsonl").write_text("\n")
    return folder


@pytest.fixture
def checkout(tmp_path) -> Path:
    folder = copied(tmp_path / "checkout")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def version(folder: Path, **environment: str) -> str:
    """The version that a fresh process reads in a folder."""
    done = subprocess.run([sys.executable, "-c", READ], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def path() -> dict[str, str]:
    return {"PATH": str(Path(shutil.which("git")).parent)}


def commit(folder: Path) -> str:
    return f"+g{git(folder, 'rev-parse', 'HEAD')[:7]}"


def test_a_checkout_gives_the_commit_of_now_and_a_mark_for_changes_of_code(checkout):
    assert version(checkout, **path()) == NUMBER + commit(checkout)
    source = checkout / "llm" / "__init__.py"
    source.write_text(source.read_text() + "\n")
    assert version(checkout, **path()) == NUMBER + commit(checkout) + ".dirty"
    git(checkout, "commit", "-q", "-a", "-m", "second")
    assert version(checkout, **path()) == NUMBER + commit(checkout)


@pytest.mark.parametrize(
    ("changed", "mark"),
    [
        ("results/rows.jsonl", ""),
        ("results/more.jsonl", ""),
        ("notes.txt", ""),
        ("pyproject.toml", ".dirty"),
        ("llm/new.yaml", ".dirty"),
    ],
)
def test_changed_results_and_new_files_outside_the_package_are_no_change_of_code(checkout, changed, mark):
    with (checkout / changed).open("a") as file:
        file.write("\n")
    assert version(checkout, **path()) == NUMBER + commit(checkout) + mark


def test_without_git_or_in_another_repository_the_number_stands_alone(checkout, tmp_path):
    assert version(checkout, PATH="") == NUMBER
    inside = copied(checkout / "vendored")
    assert version(inside, **path()) == NUMBER
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "vendored")
    assert version(inside, **path()) == NUMBER
    untracked = copied(tmp_path / "untracked")
    git(untracked, "init", "-q")
    git(untracked, "commit", "-q", "--allow-empty", "-m", "of something else")
    assert version(untracked, **path()) == NUMBER


def test_variables_of_a_git_hook_do_not_lead_to_another_repository(checkout):
    expected = NUMBER + commit(checkout)
    assert version(checkout, **path(), GIT_DIR=str(ROOT / ".git"), GIT_WORK_TREE=str(ROOT)) == expected


def test_this_version_is_one_that_python_packages_may_have():
    version = Version(llm.version())
    assert version.public == NUMBER
    assert str(version) == llm.version()
