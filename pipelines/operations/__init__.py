"""The work of the commands, a module a command, and the console.

Arguments belong to `cli`, runs without a person to `automation`. Dagster's concepts: runs,
backfills.
"""
