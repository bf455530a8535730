"""Reading GPUs through NVML; runs in the collector process only, never in the serving process."""
