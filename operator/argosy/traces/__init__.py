"""Published request traces: read strictly, as values."""
