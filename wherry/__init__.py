"""Wherry: ships TFLite models to fleets of small devices and takes them back when they misbehave.

The packages live at the top of the tree and are linked here, so that what is installed is one
package with one name (docs/decisions/0001).
"""

__version__ = "0.1.0"
