"""Bars between source and features: rules, quarantine, adjustment factors and bar versions.

Functions on the bars of sessions belong here; fetching them (`sources/`), and writing them as an
asset (`assets/ohlcv.py`), do not. Dagster's concept: the transformation inside the asset `ohlcv`.
"""
