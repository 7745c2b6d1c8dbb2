"""Grafana dashboards of the chart, written from a table of rows and panels: `python -m tools.dashboards`.

panels     what is shown: rows, panels, queries
grafana    how Grafana wants it: JSON
"""
