from rnn_core.panel.arrow_frames import as_frame as as_frame
from rnn_core.panel.arrow_frames import to_arrow as to_arrow
from rnn_core.panel.arrow_frames import to_polars as to_polars
from rnn_core.panel.panel import Panel as Panel
