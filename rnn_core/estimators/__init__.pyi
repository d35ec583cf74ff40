from rnn_core.estimators.estimator import GRU as GRU
from rnn_core.estimators.estimator import KRNN as KRNN
from rnn_core.estimators.estimator import LSTM as LSTM
from rnn_core.estimators.estimator import Estimator as Estimator
