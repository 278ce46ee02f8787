"""The images that networks are trained on and scored by: where they come from, how they are split, how they are held.

What a configuration says of them (:mod:`trainers.data.config`) is read without torch.
"""
