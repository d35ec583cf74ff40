"""The qlib semantics: pyqlib 0.9.7's numbers for any expression, by the same recurrences.

`engine` evaluates a chunk of instruments by the steps of `plan`; `series`, `elementwise` and
`rolling` are the operators, `recurrent`, `moments`, `order` and `weighted` their kernels.
"""
