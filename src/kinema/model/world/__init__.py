"""The world model, its video code, and the model that sets bodies into films."""
