"""The browser that `make site-test` opens pages in: BROWSER, else a Chromium that is installed. Run as a program it prints which."""

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """The path of the browser; None where there is none."""
    return next(filter(None, map(shutil.which, [os.environ.get("BROWSER") or "", *NAMES])), None)


@contextmanager
def launched(page: Path):
    """The browser, to open a page of the built site with."""
    from playwright.sync_api import sync_playwright

    assert page.is_file(), f"there is no {page}; build it with `make site`"
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=find())
        yield opened
        opened.close()


if __name__ == "__main__":
    if (found := find()) is None:
        asked = os.environ.get("BROWSER")
        what = f"BROWSER = {asked!r} is no program, and there is" if asked else "there is"
        sys.exit(f"error: {what} no browser; install one (apt-get install chromium), or name a Chromium by BROWSER")
    print(f"The browser: {found}")
