from pipelines.components import MarketComponent as MarketComponent
from pipelines.operations.open_market import open_market as open_market
