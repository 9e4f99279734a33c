"""How the chapters become a site and notebooks: a Sphinx extension and the commands around it.

The text lies in `book/` of a checkout, not in this package. `python -m lecture_book.build` makes
the site, `python -m lecture_book.notebooks.write` the notebooks; `_config.yml` names the extension,
`lecture_book.extension`.
"""
