"""The process that drives a slot where no app does: it takes samples from a source, asks, and passes answers on."""
