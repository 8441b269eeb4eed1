"""The report of a run: one HTML file that opens offline, and its pictures as PNG."""

from setclip.report.build import write_report
from setclip.report.content import (
    BadItems,
    ClassTable,
    Column,
    Curve,
    Curves,
    Densities,
    Gallery,
    Item,
    JointMap,
    MapView,
    Notice,
    Number,
    Query,
    ReportContent,
    ResultTable,
    Retrieved,
    Row,
    Split,
    Supervision,
)
from setclip.report.panels import branch
from setclip.report.projection import Projection, project
from setclip.report.structures import trace_svg
from setclip.report.thumbnails import encode_thumbnail

__all__ = [
    "BadItems",
    "ClassTable",
    "Column",
    "Curve",
    "Curves",
    "Densities",
    "Gallery",
    "Item",
    "JointMap",
    "MapView",
    "Notice",
    "Number",
    "Projection",
    "Query",
    "ReportContent",
    "ResultTable",
    "Retrieved",
    "Row",
    "Split",
    "Supervision",
    "branch",
    "encode_thumbnail",
    "project",
    "trace_svg",
    "write_report",
]
