"""Rolling-origin backtests of the demand forecaster against named baselines; pure."""
