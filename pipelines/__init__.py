"""A Dagster code location: raw bars to evaluated signals of RNN models, partitioned by session.

ARCHITECTURE.md shows the rooms in their order. A room imports only from rooms below it, and nothing
here is imported by `rnn_core`, the library that does the computing.
"""
