"""What encoding and decoding one image costs: operations to time, and how they are measured."""
