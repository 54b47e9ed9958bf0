"""Write the table of settings into docs/commands.md: `python scripts/settings_table.py`."""

import re
from pathlib import Path

from bench.record.scenario import Settings
from pipelines.topologies.setting import Setting, flag, table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
HEAD = "| option | default | meaning | in `settings` |\n|---|---|---|---|\n"


def row(field: str, setting: Setting) -> str:
    """Return the row of a setting."""
    names = ", ".join(f"`{name}`" for name in (flag(field), setting.also) if name)
    default = setting.otherwise or f"`{setting.default}`"
    known = ", ".join(f"`{name}`" for name in setting.known)
    meaning = [setting.help, *([f"One of {known}."] if known else [])]
    meaning += ["With a broker only."] if setting.with_broker else []
    return f"| {names} | {default} | {' '.join(meaning)} | `{field}` |\n"


def written(page: str) -> str:
    """Return the page with the table as the settings are now."""
    made = HEAD + "".join(row(*one) for one in table(Settings).items() if one[0] != "pipeline")
    return re.sub(rf"^{re.escape(HEAD)}(\|.*\n)*", lambda _: made, page, flags=re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
