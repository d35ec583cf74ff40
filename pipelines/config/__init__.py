"""The YAML of a market: one module a section, read, typed and validated before anything runs.

Types, defaults and rules between keys belong here; reading bars or a market's state does not, and
belongs to the rooms above. Dagster's concept: the configuration of a code location.
"""
