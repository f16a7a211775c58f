"""Linear models with an L2 penalty, minimised to convergence, and the linear probe."""
