"""Pictures from records: SVG, HTML, figures. Nothing here computes, knows torch, or imports another room."""

from pellucid.draw.compare_page import compare_page
from pellucid.draw.report import report as report_page
from pellucid.draw.report import write_report

__all__ = ["compare_page", "report_page", "write_report"]
