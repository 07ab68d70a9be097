"""Training: one resumable loop on Lightning Fabric, and the stages that run in it."""
