"""rnn_core: a plain library from bars to signals, qlib's Alpha158 workflow without qlib.

Here are panels, features, datasets, networks, training, estimators, evaluation and workflow
files. Files of a market, partitions and Dagster are in `pipelines`, which this library does not
know. A room imports only from the rooms below it: panel, features, data; evaluation and models,
training, estimators; workflow.
"""

__version__ = "0.1.0"
