"""idxdd: a software Intel DSA (Data Streaming Accelerator)."""

__version__ = "0.1.0"
