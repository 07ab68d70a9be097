"""What every training stage runs in: the loop, resume state, devices, and batches."""
