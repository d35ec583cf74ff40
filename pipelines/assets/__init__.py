"""One module a stage of the graph; each asset reads, calls one function, writes, reports."""
