"""The parts of an HTML page."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """Tags, attributes, and the cells of each table by its name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tables: dict[str, list[str]] = {}
        self._cells: list[str] | None = None
        self.feed(page)

    @property
    def cells(self) -> set[str]:
        """Those of all tables."""
        return {cell for table in self.tables.values() for cell in table}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "table":
            name = dict(attrs).get("data-table") or f"table {len(self.tables)}"
            self._cells = self.tables.setdefault(name, [])
        if tag in ("td", "th") and self._cells is not None:
            self._cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._cells = None

    def handle_data(self, data: str) -> None:
        if self._cells:
            self._cells[-1] += data.strip().replace("\xa0", " ")
