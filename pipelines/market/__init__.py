"""One market: its YAML, sessions, members, source, warehouse and folders, and its graph as data.

Facts of a market that need no run belong here; bars, models and Dagster do not.
Dagster's concept: the resource that every asset is given.
"""
