"""Format the papers that methods text cites; references.toml lists them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Reference:
    """A journal article; its authors are written as "Family, I. I."."""

    key: str
    authors: tuple[str, ...]
    year: int
    title: str
    journal: str
    volume: int
    number: str
    pages: str
    doi: str

    @property
    def short(self) -> str:
        """Return authors and year, as a text cites the paper."""
        family = [author.split(",")[0] for author in self.authors]
        who = f"{family[0]} et al." if len(family) > 2 else " & ".join(family)
        return f"{who}, {self.year}"

    def line(self) -> str:
        """Return the paper as an entry of a list of references."""
        *first, last = self.authors
        who = f"{', '.join(first)}, & {last}" if first else last
        issue = f"({self.number})" if self.number else ""
        url = f"https://doi.org/{self.doi}"
        return f"{who} ({self.year}). {self.title}. {self.journal}, {self.volume}{issue}, {self.pages}. {url}"

    def bibtex(self) -> str:
        """Return the BibTeX entry, without characters beyond ASCII."""
        values = {
            "author": " and ".join(self.authors),
            # Doubled braces keep capitals as they are.
            "title": f"{{{self.title}}}",
            "journal": self.journal,
            "year": str(self.year),
            "volume": str(self.volume),
            "number": self.number,
            "pages": self.pages.replace("–", "--"),
            "doi": self.doi,
        }
        fields = ",\n".join(f"  {name} = {{{value}}}" for name, value in values.items() if value)
        return f"@article{{{self.key},\n{fields}\n}}\n".replace("é", "{\\'e}").replace("ü", '{\\"u}')


def _read() -> dict[str, Reference]:
    """Return the papers of references.toml, in the order of the file."""
    text = files("ale_dask.reporting.text").joinpath("references.toml").read_text(encoding="utf-8")
    return {
        key: Reference(key, tuple(entry.pop("authors")), **{"number": "", **entry})
        for key, entry in tomllib.loads(text).items()
    }


REFERENCES = _read()
