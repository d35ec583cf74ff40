"""A new market: looking at its data, drafting its YAML, saying what is wrong with one."""
