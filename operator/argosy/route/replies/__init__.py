"""What Envoy answers by itself: lists of models, and which class a request could have meant."""
