"""Citations as text, with a link if the bibliography has one."""

from pybtex.database import BibliographyData, Entry  # type: ignore[import-untyped]

from lecture_book.notebooks.inline import FlattenError


def citation(role: str, content: str, bibliography: BibliographyData) -> str:
    """Kingma and Welling (2014) for `cite:t`, (Kingma and Welling, 2014) for `cite:p`."""
    texts = []
    for key in content.split(","):
        if key.strip() not in bibliography.entries:
            raise FlattenError(f"{key.strip()} is not in references.bib")
        entry = bibliography.entries[key.strip()]
        names, year = author_names(entry), entry.fields["year"]
        text = f"{names} ({year})" if role == "cite:t" else f"{names}, {year}"
        url = entry_url(entry)
        texts.append(f"[{text}]({url})" if url else text)
    return ", ".join(texts) if role == "cite:t" else f"({', '.join(texts)})"


def author_names(entry: Entry) -> str:
    """Family names: one, two joined by 'and', or the first 'et al.'."""
    names = [
        " ".join(str(part) for part in [*person.rich_prelast_names, *person.rich_last_names])
        for person in entry.persons["author"]
    ]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names)


def entry_url(entry: Entry) -> str:
    """The URL of a cited work; "" if the bibliography has none."""
    if "doi" in entry.fields:
        return f"https://doi.org/{entry.fields['doi']}"
    return str(entry.fields.get("url", ""))
