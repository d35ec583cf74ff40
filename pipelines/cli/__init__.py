"""Arguments of `rnn-pipelines`, a module a command, and the printing of its answer.

The work of a command belongs to `operations` or to a room below; modules here import it inside
their functions, so that `--help` starts at once. Dagster's counterpart: `dg`.
"""
