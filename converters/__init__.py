"""The converters: from a trained model to a TFLite version that was shown to be right."""
