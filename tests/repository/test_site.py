"""The built website without a network: its formulas, and what its pages ask for."""

import json
import re
from pathlib import Path

import pytest

import browser

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "out" / "site"
FORMULA = re.compile(r"\$\$.+?\$\$|\$.+?\$", re.DOTALL)
BADGES = "https://img.shields.io/"  # of README; without a network their words stand there
HEIGHTS = "nodes => nodes.map(node => node.getBoundingClientRect().height)"
SHOWN = "node => { node.querySelectorAll('pre, code, math').forEach(one => one.remove()); return node.innerText; }"
pytestmark = pytest.mark.site


def formulas(page):
    """How many formulas the source of a page has, a notebook's outputs left out."""
    source = (ROOT / page).read_text()
    if page.endswith(".ipynb"):
        cells = json.loads(source)["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return len(FORMULA.findall(source))


@pytest.mark.parametrize("page", ["docs/protocol.md", "notebooks/theory.ipynb", "notebooks/averaging.ipynb"])
def test_formulas_are_drawn_without_a_network(page):
    built = (SITE / page).with_suffix(".html")
    with browser.launched(built) as chromium:
        shown = chromium.new_context(offline=True).new_page()
        shown.goto(built.as_uri())
        heights = shown.locator("article math").evaluate_all(HEIGHTS)
        text = shown.locator("article").evaluate(SHOWN)
    assert len(heights) >= formulas(page) > 5
    assert min(heights) > 5  # pixels
    assert not re.search(r"\$|\\[a-z]", text)


def test_pages_take_nothing_from_elsewhere_but_badges():
    pages = [*SITE.rglob("*.html")]
    assert len(pages) > 30
    for page in pages:
        html = re.sub(r"<(style|script)\b([^>]*)>.*?</\1>", r"<script\2>", page.read_text(), flags=re.DOTALL)
        asked = re.findall(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=[\"']?(https?:[^\"' >]+)", html)
        assert not [url for url in asked if not url.startswith(BADGES)], page
