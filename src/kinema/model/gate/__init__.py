"""The gate: a latent dynamics model, its judgement, and what its promise rests on."""
