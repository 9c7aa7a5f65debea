"""What a trained model has learnt, as pictures and as data: features, saliency, and what its filters look for."""
