"""The parts of a traffic iteration: weights between clusters, and recalibration of step times."""
