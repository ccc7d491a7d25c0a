"""The report that `make report` has made: its pages, its figures, and that nothing leaves the page."""

import re
from pathlib import Path

import pytest

from drawing import style

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (ROOT / "docs" / "report.typ").read_text()
LEAST = style.LEAST * style.WIDTH / 6.61  # points; of figures, which fill the text's width on A4, 6.61 inches
pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def pdf():
    from pypdf import PdfReader

    return PdfReader(ROOT / "out" / "report.pdf")


def test_it_has_its_chapters_figures_and_claims(pdf):
    text = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pdf.pages))
    assert 6 <= len(pdf.pages) <= 16
    for title in re.findall(r"^=+ ([^<\n]+)", SOURCE, re.MULTILINE):
        assert title.strip().replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") in text, title
    for number in range(1, len(re.findall(r"#drawn\(", SOURCE)) + 1):
        assert f"Figure {number}:" in text
    for claim in ("C1", "C12c", "L4", "P2"):
        assert claim in text
    assert "Mitigating the Alignment Tax of RLHF" in text
    assert pdf.metadata.title.startswith("alignment-tax")


def test_all_text_lies_on_its_page_and_is_large_enough(pdf):
    for number, page in enumerate(pdf.pages, 1):
        outside, small = [], []

        def look(text, _, matrix, font, size, page=page, outside=outside, small=small):
            if text.strip() and not 0 <= matrix[4] <= float(page.mediabox.width):
                outside.append(text)
            if len(text.strip()) > 1 and font is not None and 0 < size < LEAST:  # a single letter is an index
                small.append((text, size))

        page.extract_text(visitor_text=look)
        assert not outside, f"page {number}: {outside[:3]}"
        assert not small, f"page {number}: {small[:3]}"
