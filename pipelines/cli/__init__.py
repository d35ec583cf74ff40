"""Arguments of `rnn-pipelines`, a module a command, and the printing of its answer.

A module's docstring is the help of its command, `ARGUMENTS` are its arguments, and `run` takes the
parsed ones and returns the exit status. The work of a command belongs to `operations` or to a room
below; modules here import it inside their functions, so that `--help` starts at once and needs no
extra. Dagster's counterpart: `dg`.
"""
