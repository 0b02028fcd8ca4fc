"""Where architectures are evaluated: in this process, in processes beside it, or by Ray Tune."""
