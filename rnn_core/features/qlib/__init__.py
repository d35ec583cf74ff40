"""The qlib semantics: pyqlib 0.9.7's numbers for any expression, by the same recurrences.

`interpreter` evaluates a chunk of instruments by the steps of `plan`; `series`, `pointwise` and
`rolling` are the operators; `recurrences`, `moments`, `order` and `weighted` are their kernels.
Repairs of qlib belong to `rnn_core.features.strict`.
"""
