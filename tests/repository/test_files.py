"""Parts of a Markdown page that a command makes take the place of their older selves, and nothing else changes."""

import pytest

from llm.errors import UserError
from llm.files import marks, put_between

BEGIN, END = marks("table")


def test_a_part_takes_the_place_of_an_older_one_and_others_stay(tmp_path):
    page, other = tmp_path / "page.md", "\n".join(marks("claims"))
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n{other}\n")
    put_between(page, "table", "new\nlines")
    assert page.read_text() == f"above\n{BEGIN}\nnew\nlines\n{END}\nbelow\n{other}\n"
    put_between(page, "claims", "more")
    assert "new\nlines" in page.read_text()
    assert page.read_text().endswith("\nmore\n<!-- end of claims -->\n")


@pytest.mark.parametrize("text", [f"above\n{END}\n{BEGIN}\n", f"{BEGIN}\n", "nothing", "\n".join(marks("claims"))])
def test_a_page_without_the_marks_is_refused_and_left_as_it_is(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(
        UserError, match="page.md has no place for the table; it must hold the marks <!-- table --> and"
    ):
        put_between(page, "table", "new")
    assert page.read_text() == text
