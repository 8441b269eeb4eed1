"""Writing a report: the page and its pictures, each file whole or not at all."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from setclip.data.atomic import write_bytes
from setclip.report.content import ReportContent

NEEDED = ("jinja2", "plotly", "matplotlib")
# Pictures an earlier report may have left behind; anything else in the folder is the user's.
OWN_PICTURES = re.compile(r"(results-\d+-\d+|retrieved-\d+|curves|joint-map|density|classes)\.png")


def write_report(content: ReportContent, directory: Path) -> Path:
    """Write `report.html` and `figures/*.png` into a directory, and return the page's path.

    The page is one file that opens offline. Every file is written aside, synced and renamed, the
    page last: a reader never sees half a report. Pictures of an earlier report that this one does
    not have are removed.

    Args:
        content: What to show.
        directory: Made if absent.

    Raises:
        ImportError: The report extra is not installed.
        OSError: The directory cannot be written.
    """
    require_extra()
    from setclip.report.figures_png import png_figures
    from setclip.report.page import render

    pictures = png_figures(content)
    # A lone surrogate, as broken JSON yields, has no UTF-8 form.
    page = render(content, pictures).encode("utf-8", errors="replace")
    figures = directory / "figures"
    for name, picture in pictures.items():
        write_bytes(figures / name, picture)
    for stale in figures.iterdir() if figures.is_dir() else ():
        if OWN_PICTURES.fullmatch(stale.name) and stale.name not in pictures:
            stale.unlink()
    path = directory / "report.html"
    write_bytes(path, page)
    return path


def require_extra() -> None:
    """Raise an ImportError that names the remedy if a package of the report extra is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"a report needs {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed. Run: "
            'pip install "setclip[report]"'
        )
