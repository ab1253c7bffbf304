"""From a trained model's file to a SavedModel with one fixed signature."""
