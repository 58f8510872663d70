"""Use of trained models: prediction, prediction files, export, explanations."""
