"""Formulas of the website as MathML, made when it is built: browsers show that by themselves, without a network. A hook of mkdocs.yml."""

import re

from bs4 import BeautifulSoup
from math_core import LatexError, LatexToMathML
from mkdocs.exceptions import PluginError

FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>.+?)\$", re.DOTALL)
AS_IT_IS = ["code", "pre", "script", "style"]
MATHML = LatexToMathML(fancy_error=False)


def on_page_content(html: str, page, **others) -> str:
    """A page with MathML in place of TeX between dollars, in its text but not in code. PluginError for TeX that has no MathML."""
    soup = BeautifulSoup(html, "html.parser")
    texts = [text for text in soup.find_all(string=FORMULA) if not text.find_parent(AS_IT_IS)]
    try:
        for text in texts:
            text.replace_with(BeautifulSoup(FORMULA.sub(mathml, text.output_ready()), "html.parser"))
    except LatexError as error:
        raise PluginError(f"{page.file.src_uri}: a formula of this text is not understood ({error}): {text}") from None
    return str(soup) if texts else html


def mathml(found: re.Match) -> str:
    """The formula of a match in HTML."""
    block, inline = (BeautifulSoup(found[name] or "", "html.parser").text for name in ("block", "inline"))
    return MATHML.convert_with_local_state(block or inline, displaystyle=bool(block))
