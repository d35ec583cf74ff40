"""What makes a partition stale: stored versions against those of now, the causes, the survey.

What a partition is made from belongs to `market.input_versions`, remaking it to `assets`. Dagster's
concept: data versions and staleness, which it skips for partitions with 100 inputs or more.
"""
