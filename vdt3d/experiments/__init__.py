"""Studies of several runs: comparison, cross-validation, tuning, overfitting, learning-rate search, calibration."""
