"""The strict semantics: a set of expressions planned as one program and run by compiled kernels.

`program` plans, `machine` runs; `windows` says how windows are put together, `elementwise`,
`merged`, `ordered` and `lags` are the kernels, `codes` the language between plan and machine.

Shape letters: `T` sessions of the workspace, `C` instruments of a chunk, `N` of the market, `F`
features, `K` levels of windows, `Q` statistics asked of a group.
"""
