"""How one architecture is trained and scored: data, recipe, loop, checkpoints, evaluation.

What a configuration holds (:mod:`trainers.recipe`, :mod:`trainers.data.config`, :mod:`trainers.schedule`) and where
checkpoints lie (:mod:`trainers.checkpoint_layout`) is read without torch; everything else trains.
"""
