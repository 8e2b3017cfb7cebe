"""Networks: architecture, weights, saliency, inference and training."""
