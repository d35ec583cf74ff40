"""Train a model as of a session, keep its bundle, and find the model in force at a session.

Windows cut from the warehouse, fitted processors, bundles and their promotion belong here; networks
do not (`rnn_core`), nor do assets. MLOps' concept: training pipeline and model registry.
"""
