"""The closed loop of medical image segmentation."""

__version__ = "0.1.0"
