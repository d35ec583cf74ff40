from rnn_core.panel.panel import Panel as Panel
