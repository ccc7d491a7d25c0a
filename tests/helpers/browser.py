"""The browser that `make site-test` opens pages in: BROWSER, else a Chromium that is installed. Run as a program it prints which."""

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """The path of the browser; None where there is none."""
    return next(filter(None, map(shutil.which, [os.environ.get("BROWSER") or "", *NAMES])), None)


if __name__ == "__main__":
    if (found := find()) is None:
        asked = os.environ.get("BROWSER")
        what = f"BROWSER = {asked!r} is no program, and there is" if asked else "there is"
        sys.exit(f"error: {what} no browser; install one (apt-get install chromium), or name a Chromium by BROWSER")
    print(f"The browser: {found}")
