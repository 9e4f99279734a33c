"""Where the pages of the site differ from what Jupyter Book gives: one module a subject."""
