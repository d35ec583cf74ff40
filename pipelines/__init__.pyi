from pipelines.components import MarketComponent as MarketComponent
