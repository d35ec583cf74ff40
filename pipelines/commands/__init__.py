"""Sub-commands of `rnn-pipelines`, one a module: `add_command` gives the parser its command."""
