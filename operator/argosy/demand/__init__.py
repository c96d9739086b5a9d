"""What will be asked: length archetypes and forecasts."""
