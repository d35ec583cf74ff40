"""The work of the commands: what a person asks for, a module a command, and the console.

Arguments belong to `cli`, what runs by itself to `automation`. Dagster's concepts: runs, backfills.
"""
