"""Daily bars from files, databases, qlib folders and vendors, all in one form.

A new kind of source is a module here, a section in `config/sources.py` and a branch in `factory`.
Judging and adjusting bars belongs to `bars/`, keeping them to `warehouse/`.
Dagster's concept: the external source that the asset `ohlcv` ingests.
"""
