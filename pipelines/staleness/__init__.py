"""Staleness of partitions: stored versions against those of now, the causes, the survey.

`market.input_versions` says what a partition is made from, and `assets` makes it again. Dagster's
concept: data versions and staleness, which Dagster skips for partitions with 100 inputs or more.
"""
