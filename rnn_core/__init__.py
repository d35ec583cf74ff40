"""rnn_core: Alpha158 features, processors, samplers, recurrent models and their evaluation."""
