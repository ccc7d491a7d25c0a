"""What tools make of CITATION.cff: cffconvert, which `make site-test` puts into a place of its own."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CFFCONVERT = ROOT / "out" / "cffconvert" / "bin" / "cffconvert"
pytestmark = pytest.mark.site


def converted(*arguments: str) -> str:
    done = subprocess.run([CFFCONVERT, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_file_is_valid():
    assert "Citation metadata are valid according to schema version 1.2.0." in converted("--validate")


def test_its_bibtex_is_the_readmes_entry_for_the_software():
    readme = (ROOT / "README.md").read_text()
    (entry,) = re.findall(r"^@software\{.*?^\}", readme, re.MULTILINE | re.DOTALL)
    own, theirs = (
        dict(re.findall(r"(\w+) *= *\{+(.*?)\}+,?$", text, re.MULTILINE)) for text in (entry, converted("-f", "bibtex"))
    )
    assert {"title", "author"} <= theirs.keys()
    assert {key: theirs[key] for key in ("title", "author", "year") if key in theirs} == {
        key: own[key]
        for key in ("title", "author", "year")
        if key in theirs  # no year before a release
    }


def test_its_apa_text_names_the_software_and_not_the_paper():
    text = converted("-f", "apalike")
    assert re.match(r"The alignment-tax developers (\(\d{4}\)\. )?alignment-tax: ", text)  # no year before a release
    assert "Mitigating" not in text
