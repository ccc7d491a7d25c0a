"""The front explorer: one HTML page on every row of `results`, with the libraries that it needs inside.

`rows` thins the rows, `page` writes the page; `chart.json`, `page.html`, `page.css` and `page.js` are its parts.
"""
