"""Figures from kdabench reports: python3 -m reports.plots REPORT.json... --out DIR."""
