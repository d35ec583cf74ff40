"""A market's Dagster instance: home, settings, event log, run history, locks, the UI's process.

Not here: what is stale, what runs next, what an asset makes.
Dagster concept: `DagsterInstance`; only this package imports Dagster's private modules.
"""
