"""A trained model as input of other simulation programs, and a check of what they compute."""
