"""Tables of session partitions in Parquet, verified on reading, and the DuckDB catalog over them.

Files, schemas, digests, provenance and revisions belong here; a market, its calendar and its
configuration do not. Dagster's concept: the storage of asset partitions (an IO manager).
"""
