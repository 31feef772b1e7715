"""`kinema robots`: cards shown, checked and made."""
