from rnn_core.estimators.estimator import GRU as GRU
from rnn_core.estimators.estimator import KRNN as KRNN
from rnn_core.estimators.estimator import LSTM as LSTM
from rnn_core.estimators.estimator import Estimator as Estimator
from rnn_core.estimators.row_estimators import LightGBM as LightGBM
from rnn_core.estimators.row_estimators import Linear as Linear
from rnn_core.estimators.row_estimators import RowEstimator as RowEstimator
