"""Stages of the graph, and the factory that turns a stage into a Dagster asset.

A module makes one kind of asset; `stages` lists them all. Deciding what is stale belongs to
`staleness`, schedules and sensors to `automation`. Dagster's concepts: assets, asset checks.
"""
