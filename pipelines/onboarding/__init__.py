"""`init` and `validate`: profile a stranger's data, infer its YAML, and find what would stop it.

Every inference about data without a YAML belongs here; reading bars does not (`sources/`), nor does
judging them (`bars/`). MLOps' concept: data profiling and validation before the first run.
"""
