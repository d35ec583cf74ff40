"""The reports: figures, tables, pictures and pages over every session of every model.

Statistics and plots belong to `rnn_core.evaluation`, the assets that publish a report to `assets`.
Dagster's concept: the body of an asset without partitions.
"""
