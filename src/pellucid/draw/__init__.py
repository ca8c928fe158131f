"""Pictures from records: SVG, HTML, figures. Nothing here computes, knows torch, or imports another room."""

from pellucid.draw.atlas_page import write_atlas_page
from pellucid.draw.check_page import check_page
from pellucid.draw.compare_page import compare_page
from pellucid.draw.grid_page import grid_page, write_grid_page
from pellucid.draw.look_page import look_page
from pellucid.draw.mixing_svg import holes_svg, mixing_svg
from pellucid.draw.network_svg import network_svg
from pellucid.draw.number_html import number_html
from pellucid.draw.plan import plan_rich, plan_svg, plan_text
from pellucid.draw.probe_page import probe_page, write_probe_page
from pellucid.draw.report import report as report_page
from pellucid.draw.report import write_report
from pellucid.draw.table import table_html, table_rich, table_text

__all__ = [
    "check_page",
    "compare_page",
    "grid_page",
    "holes_svg",
    "look_page",
    "mixing_svg",
    "network_svg",
    "number_html",
    "plan_rich",
    "plan_svg",
    "plan_text",
    "probe_page",
    "report_page",
    "table_html",
    "table_rich",
    "table_text",
    "write_atlas_page",
    "write_grid_page",
    "write_probe_page",
    "write_report",
]
