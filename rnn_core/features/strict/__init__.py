"""The strict semantics: a set of expressions planned as one program for compiled kernels.

`program` plans, by `lowering` and `op_schedule`; `engine` runs chunks of instruments through
`machine`. `rolling_windows` lays out windows; `elementwise`, `merged`, `ordered`, `lags` and
`finish` are the kernels; `codes` is the language between plan and machine. qlib's own numbers
belong to `rnn_core.features.qlib`.

Shape letters: `T` sessions of the workspace, `C` instruments of a chunk, `N` of the market, `F`
features, `K` levels of windows, `Q` statistics asked of a group.
"""
